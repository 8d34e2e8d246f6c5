package legacy

import (
	"strings"
	"testing"
	"time"
)

func TestTypeMapNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := ReadTypeMap(strings.NewReader("a.b\ta_b\nno tab\n# a comment\n\nc\tNot A Name\n A.B \tother\na.b\ta_b\n"))
	for _, fault := range []string{"line 2: want", `line 5: "Not A Name" is not a type name`, `line 6: "a.b" is already mapped to "a_b"`} {
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("want %q in %v", fault, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "line 7") {
		t.Errorf("a line that says the same twice is no fault: %v", err)
	}
}

func TestBuiltinTypeMapCanBeRead(t *testing.T) {
	t.Parallel()
	if got := defaultTypeMap().standard["backup_schedule.run_now"]; got != "backup_schedule_run" {
		t.Errorf("backup_schedule.run_now becomes %q", got)
	}
}

func TestAnotherTypeMapIsAppliedToAllRuns(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughBackfill(t, address)
	types, err := ReadTypeMap(strings.NewReader("something.unknown\tsomething_known\nbackup_schedule.run_now\tbackup_schedule_purge\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, address, Options{TypeMap: types})
	must(t, r.Expand)
	if got := must(t, r.Verify); got.Total == 0 {
		t.Error("the runs are right by the new map before they were filled by it")
	}
	r.Close()
	throughContract(t, address)
	for query, want := range map[string]string{
		"SELECT type FROM operation_runs WHERE id = 103":                                          "something_known",
		"SELECT type || ' ' || context::text FROM operation_runs WHERE id = 200":                  `backup_schedule_purge {"backup_schedule_id": 12}`,
		"SELECT type FROM operation_runs WHERE id = 100":                                          "inventory.sync",
		"SELECT accepts_new_runs::text FROM operation_types WHERE name = 'something_known'":       "false",
		"SELECT count(*)::text FROM operation_types WHERE name = 'policy_sync'":                   "0",
		"SELECT count(*)::text FROM legacy_archive.operation_run_originals WHERE type = 'a.type'": "0",
	} {
		if got := one(t, address, query); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	if got := must(t, open(t, address, Options{}).Verify); got.Total != 0 {
		t.Errorf("differences by the new map: %v", got.Differences)
	}
}

func TestProgressTellsRateAndTimeLeft(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	clock := time.Unix(0, 0)
	p := NewProgress(&out, false)
	p.now = func() time.Time { return clock }
	p.begin("backfill findings", 1000, 10000)
	p.advance(500)
	if out.Len() > 0 {
		t.Errorf("it speaks in the first second: %q", out.String())
	}
	clock = clock.Add(2 * time.Second)
	p.advance(1500)
	if got, want := out.String(), "backfill findings: 3000 of about 10000 rows, 1000 rows/s, about 7s left\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
