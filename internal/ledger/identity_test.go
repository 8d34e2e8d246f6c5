package ledger_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/ledger"
)

// hashOf is the hash of a canonical form that the test spells out itself.
func hashOf(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return hex.EncodeToString(sum[:])
}

// identityHash is the hash of an identity in workspace 1, without a tenant.
func identityHash(t *testing.T, identity string) string {
	t.Helper()
	hash, err := ledger.IdentityHash(1, nil, "inventory_sync", json.RawMessage(identity))
	if err != nil {
		t.Fatalf("%s: %v", identity, err)
	}
	return hash
}

func TestTheIdentityHashIsTheDocumentedRecipe(t *testing.T) {
	t.Parallel()
	tenant := int64(9007199254740993)
	got, err := ledger.IdentityHash(9223372036854775807, &tenant, "backup_schedule_run", json.RawMessage(`{"slot": "2026-01-31T02:30:00Z", "backup_schedule_id": 7}`))
	if err != nil {
		t.Fatal(err)
	}
	want := hashOf(`{"identity":{"backup_schedule_id":7,"slot":"2026-01-31T02:30:00Z"},` +
		`"tenant_id":"9007199254740993","type":"backup_schedule_run","workspace_id":"9223372036854775807"}`)
	if got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
	if got, want := identityHash(t, `"nightly"`), hashOf(`{"identity":"nightly","tenant_id":null,"type":"inventory_sync","workspace_id":"1"}`); got != want {
		t.Errorf("hash without a tenant %s, want %s", got, want)
	}
}

// examples are the worked examples of the document: what the ids, the type and the identity are, the
// canonical form as it is piped into sha256sum, and what that prints.
var examples = regexp.MustCompile("(?s)[Ff]or workspace\\s(\\d+),\\s(?:no tenant|tenant\\s(\\d+)),\\stype\\s`(\\w+)`\\sand\\s" +
	"(?:identity\\s`([^`]*)`|this identity,\n\n```json\n(.*?)\n```).*?" +
	"```console\n\\$ printf '%s' '([^'\n]*)' \\| sha256sum\n([0-9a-f]{64})  -\n```")

func TestTheDocumentsExamplesHaveTheHashesThatItPrints(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	found := examples.FindAllSubmatch(text, -1)
	if printed := strings.Count(string(text), "| sha256sum"); len(found) != 2 || printed != len(found) {
		t.Fatalf("%d examples are read of %d that compute a hash, want 2", len(found), printed)
	}
	for _, example := range found {
		workspace, err := strconv.ParseInt(string(example[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		var tenant *int64
		if len(example[2]) > 0 {
			id, err := strconv.ParseInt(string(example[2]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			tenant = &id
		}
		identity := slices.Concat(example[4], example[5]) // in the sentence, or below it
		printed := string(example[7])
		if got := hashOf(string(example[6])); got != printed {
			t.Errorf("the hash of %s is %s and not %s", example[6], got, printed)
		}
		got, err := ledger.IdentityHash(workspace, tenant, string(example[3]), identity)
		if err != nil || got != printed {
			t.Errorf("the identity %s has the hash %s, error %v, and not %s", identity, got, err, printed)
		}
	}
}

func TestAnIdentityIsMadeCanonicalAsRFC8785Says(t *testing.T) {
	t.Parallel()
	for given, canonical := range map[string]string{
		// Section 3.2.2 and 3.2.3, with the results of section 3.2.4.
		`{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
		  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
		  "literals": [null, true, false]}`: `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],` +
			`"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		`{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
		  "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}`: `{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis",` +
			`"€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`,
		// Appendix B.
		`[0, -0, 5e-324, -5e-324, 1.7976931348623157e308, 9007199254740992, -9007199254740992, 295147905179352830000.0, 9.999999999999997e22, 1e23]`: `[0,0,5e-324,-5e-324,1.7976931348623157e+308,9007199254740992,-9007199254740992,295147905179352830000,9.999999999999997e+22,1e+23]`,
		`[1e21, 999999999999999700000.0, 333333333.3333332, 333333333.33333325, 0.000001, 1e-7, -0.0000033333333333333333, 1424953923781206.2]`:      `[1e+21,999999999999999700000,333333333.3333332,333333333.33333325,0.000001,1e-7,-0.0000033333333333333333,1424953923781206.2]`,
		// Nothing is normalized within texts, and HTML means nothing.
		`"A\u030a <&> \u2028"`: "\"A\u030a <&> \u2028\"",
		` { } `:                `{}`,
		`[ 1 , [ ] ]`:          `[1,[]]`,
		`"1"`:                  `"1"`,
		`true`:                 `true`,
	} {
		want := hashOf(`{"identity":` + canonical + `,"tenant_id":null,"type":"inventory_sync","workspace_id":"1"}`)
		if got := identityHash(t, given); got != want {
			t.Errorf("%s is not hashed as %s", given, canonical)
		}
	}
}

func TestWorkspaceTenantTypeAndIdentityAreEachPartOfTheHash(t *testing.T) {
	t.Parallel()
	one, two := int64(1), int64(2)
	hashes := map[string]string{}
	for name, work := range map[string]struct {
		workspace int64
		tenant    *int64
		runType   string
		identity  string
	}{
		"plain":               {1, nil, "inventory_sync", `{"id":1}`},
		"another workspace":   {2, nil, "inventory_sync", `{"id":1}`},
		"a tenant":            {1, &one, "inventory_sync", `{"id":1}`},
		"another tenant":      {1, &two, "inventory_sync", `{"id":1}`},
		"another type":        {1, nil, "entra_group_sync", `{"id":1}`},
		"another identity":    {1, nil, "inventory_sync", `{"id":2}`},
		"text for number":     {1, nil, "inventory_sync", `{"id":"1"}`},
		"nested":              {1, nil, "inventory_sync", `{"id":{"id":1}}`},
		"an array":            {1, nil, "inventory_sync", `[{"id":1}]`},
		"a huge workspace":    {9007199254740993, nil, "inventory_sync", `{"id":1}`},
		"its neighbour":       {9007199254740992, nil, "inventory_sync", `{"id":1}`},
		"text that looks big": {1, nil, "inventory_sync", `{"id":"9007199254740993"}`},
		"its neighbour text":  {1, nil, "inventory_sync", `{"id":"9007199254740992"}`},
	} {
		hash, err := ledger.IdentityHash(work.workspace, work.tenant, work.runType, json.RawMessage(work.identity))
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := hashes[hash]; taken {
			t.Errorf("%s has the hash of %s", name, other)
		}
		hashes[hash] = name
	}
}

func TestAnIdentityWithoutACanonicalFormIsRefused(t *testing.T) {
	t.Parallel()
	for _, identity := range []string{
		``, `{`, `nil`, `01`, `[1,]`, "\"\x00\"",
		`"\ud800"`, `"\udc00"`, `"\ud800\u0041"`, `{"\udfff":1}`,
		`1e400`, `-1e400`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, // two members of one name mean something else to each reader
		`9007199254740993`, `[-9007199254740993]`, `{"id":18446744073709551615}`, `{"\"":9007199254740993}`,
	} {
		if hash, err := ledger.IdentityHash(1, nil, "inventory_sync", json.RawMessage(identity)); err == nil {
			t.Errorf("%q has the hash %s", identity, hash)
		}
	}
}

func TestTheIdentityHashIsBlindToOrderAndFormAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		members := rapid.MapOfN(rapid.String(), rapid.Int32(), 0, 8).Draw(rt, "members")
		names := make([]string, 0, len(members))
		for name := range members {
			names = append(names, name)
		}
		write := func(form func(int32) string) string {
			rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			text := "{"
			for i, name := range names {
				if i > 0 {
					text += " , "
				}
				quoted, _ := json.Marshal(name)
				text += string(quoted) + "\n:\t" + form(members[name])
			}
			return text + "}"
		}
		plain := write(func(n int32) string { return strconv.Itoa(int(n)) })
		other := write(func(n int32) string { return fmt.Sprintf("%d.000e0", n) })
		if identityHash(t, plain) != identityHash(t, other) {
			rt.Errorf("%s and %s differ", plain, other)
		}
		if len(names) > 0 {
			members[names[0]]++
			if changed := write(func(n int32) string { return strconv.Itoa(int(n)) }); identityHash(t, plain) == identityHash(t, changed) {
				rt.Errorf("%s and %s are the same", plain, changed)
			}
		}
	})
}
