package legacy

import "testing"

func TestIDsGoOnFromTheApplicationsSequence(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO findings (workspace_id, tenant_id, finding_type, fingerprint) VALUES (1, 10, 'drift', 'next') RETURNING id::text"
	for name, c := range map[string]struct{ script, sequence string }{
		"of another name":      {"ALTER SEQUENCE findings_id_seq RENAME TO findings_id_seq1", "findings_id_seq"},
		"beside a stale one":   {"ALTER SEQUENCE findings_id_seq RENAME TO findings_id_seq1; CREATE SEQUENCE findings_id_seq", "findings_id_seq1"},
		"that nothing owns":    {"ALTER SEQUENCE findings_id_seq OWNED BY NONE; ALTER SEQUENCE findings_id_seq RENAME TO ids", "ids"},
		"in another schema":    {"CREATE SCHEMA ids; ALTER SEQUENCE findings_id_seq OWNED BY NONE; ALTER SEQUENCE findings_id_seq SET SCHEMA ids", "ids.findings_id_seq"},
		"of a restored backup": {"ALTER SEQUENCE findings_id_seq RENAME TO x; ALTER SEQUENCE x RENAME TO findings_id_seq", "findings_id_seq"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := legacyDatabase(t)
			run(t, address, c.script)
			throughContract(t, address)
			if got, want := one(t, address, "SELECT column_default FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'findings' AND column_name = 'id'"),
				"nextval('"+c.sequence+"'::regclass)"; got != want {
				t.Errorf("the default is %s, want %s", got, want)
			}
			if got := one(t, address, insert); got != "100001" {
				t.Errorf("the next finding is %s", got)
			}
		})
	}
}
