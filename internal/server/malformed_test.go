package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// malformed are bodies that are no JSON object by RFC 8259, or one that cannot be kept as it is, by
// what is wrong with them.
func malformed() map[string]string {
	deep := func(open, closed string, n int) string { return strings.Repeat(open, n) + strings.Repeat(closed, n) }
	bodies := map[string]string{
		"nothing": "", "a space": " ", "a line": "\n", "a NUL": "\x00", "a form feed": "\f", "a byte order mark": "\ufeff{}", "only a byte order mark": "\ufeff",
		"UTF-16": "\xff\xfe{\x00}\x00", "UTF-32": "{\x00\x00\x00}\x00\x00\x00",
		"no object": "[]", "a text": `"a"`, "a number": "1", "null": "null", "true": "true", "a word": "nul", "a long word": "nulll", "two words": "true false",
		"an array of objects": "[{}]", "single quotes": "{'a':1}", "a name without quotes": "{a:1}", "a number as name": "{1:1}", "null as name": "{null:null}",
		"no name": "{:1}", "no colon": `{"a" 1}`, "two colons": `{"a"::1}`, "an equals sign": `{"a"=1}`, "a comma for a colon": `{"a",1}`, "no value": `{"a":}`,
		"only a name": `{"a"}`, "a comma at the end": `{"a":1,}`, "two commas at the end": `{"a":1,,}`, "a comma at first": `{,"a":1}`, "two commas": `{"a":1,,"b":2}`,
		"only a comma": "{,}", "no comma": `{"a":1 "b":2}`, "a semicolon": `{"a":1;"b":2}`, "a comma at an array's end": `{"a":[1,]}`, "an array's first comma": `{"a":[,1]}`,
		"an array's double comma": `{"a":[1,,2]}`, "a colon in an array": `{"a":["b":1]}`, "an array without a comma": `{"a":[1 2]}`, "a star": `{"a":[*]}`,
		"the wrong bracket": `{"a":1]`, "the wrong brace": `{"a":[1}}`, "an object that is open": `{"a":1`, "an array that is open": `{"a":[1`, "a text that is open": `{"a":"b`,
		"a name that is open": `{"a`, "an open brace": "{", "a closing brace": "}", "two closing braces": "{}}", "two objects": "{}{}", "text behind": "{}x", "a hash behind": "{}#",
		"a comma behind": "{},", "a NUL behind": "{}\x00", "a quote behind": `{}"`, "a comment": "{}//", "a comment in front": "/**/{}", "a comment inside": `{"a":/* */1}`,
		"a comment of a hash": "{} # nothing", "an assignment": "a={}", "a callback": "f({})", "XML": "<a/>", "a form": "type=inventory_sync", "a CSV": "type,status",
		"an end of transmission": "{\x04}", "a no-break space": "{\u00a0}", "a line separator": "{\u2028}", "a vertical tab": "{\v}", "a word joiner": "{\u2060}",
		"half a surrogate pair": `{"a":"\ud800"}`, "the other half": `{"a":"\udc00"}`, "the halves in the wrong order": `{"a":"\udc00\ud800"}`,
		"the halves apart": `{"a":"\ud800 \udc00"}`, "two first halves": `{"a":"\ud800\ud800"}`, "half of a name": `{"\ud800":1}`, "half in capitals": `{"a":"\uDBFF"}`,
		"a NUL escaped": `{"a":"\u0000"}`, "a NUL in a name": `{"\u0000":1}`, "a NUL amid others": `{"a":"b\u0000c"}`, "a NUL in the depths": `{"a":[{"b":["\u0000"]}]}`,
		"a raw NUL": "{\"a\":\"\x00\"}", "a raw line break": "{\"a\":\"\n\"}", "a raw tab": "{\"a\":\"\t\"}", "a raw escape": "{\"a\":\"\x1b\"}", "a raw tab in a name": "{\"a\t\":1}",
		"an escape of x": `{"a":"\x41"}`, "an escape of a": `{"a":"\a"}`, "an escape of a quote": `{"a":"\'"}`, "an escape of nothing": `{"a":"\"}`, "an octal escape": `{"a":"\012"}`,
		"a long escape": `{"a":"\U0001F600"}`, "a braced escape": `{"a":"\u{1f600}"}`, "an escape of a digit too few": `{"a":"\u00A"}`, "an escape of no digits": `{"a":"\uZZZZ"}`,
		"an escape of emoji": "{\"a\":\"\\😀\"}", "an escape outside": `{\u0022a":1}`, "an escaped line break": "{\"a\":\"\\\n\"}",
		"a lone continuation byte": "{\"a\":\"\x80\"}", "an overlong NUL": "{\"a\":\"\xc0\x80\"}", "an overlong slash": "{\"a\":\"\xe0\x80\xaf\"}", "a surrogate in UTF-8": "{\"a\":\"\xed\xa0\x80\"}",
		"a cut sequence": "{\"a\":\"\xe2\x82\"}", "beyond Unicode": "{\"a\":\"\xf4\x90\x80\x80\"}", "Latin-1": "{\"a\":\"\xe9\"}", "bad UTF-8 in a name": "{\"\xff\":1}", "bad UTF-8 behind": "{}\xff",
		"a name twice": `{"a":1,"a":2}`, "a name twice in the depths": `{"a":[{"b":{"c":1,"d":2,"c":3}}]}`, "a name twice, once escaped": `{"ab":1,"\u0061b":2}`, "an empty name twice": `{"":1,"":1}`,
		"a name twice among many": `{"x1":1,"x2":1,"x3":1,"x4":1,"x5":1,"x6":1,"x7":1,"x8":1,"x9":1,"x10":1,"x11":1,"x12":1,"x13":1,"x14":1,"x15":1,"x16":1,"x17":1,"x18":1,"x17":1}`,
		"too deep by objects":     deep(`{"a":`, "}", 65), "too deep by arrays": `{"a":` + deep("[", "]", 65) + "}", "deep and open": strings.Repeat(`{"a":`, 100_000), "arrays without end": strings.Repeat("[", 500_000),
		"too long a number": `{"a":` + strings.Repeat("9", 1001) + "}", "too large an exponent": `{"a":1e309}`, "too small an exponent": `{"a":1e-309}`, "an exponent beyond all": `{"a":1e99999999999999999999}`,
	}
	for _, number := range []string{
		"01", "-01", "+1", "1.", ".1", "-.1", "-", "--1", "1e", "1e+", "1E-", "0e", "0.e1", "1.e1", "1eE2", "1e1.5", "1_000", "1 000", "1,000.0", "0x1F", "0b1", "0o7", "1f", "1n",
		"Infinity", "-Infinity", "inf", "NaN", "nan", "-NaN", "１", "1.2.3", "-1-2", "1+1", "- 1", "1e 5", "0.1.2", "012", "-012", "1/2", "undefined", "None", "True", "nil", "NULL", "$1", "`a`",
	} {
		bodies["the number "+number] = `{"a":` + number + "}"
	}
	return bodies
}

// readsBody tells whether a route to which a body can be sent does anything with it, or else refuses it.
func readsBody(pattern string) bool {
	return !strings.HasSuffix(pattern, "/heartbeat") && !strings.HasSuffix(pattern, "/cancel") && !strings.HasSuffix(pattern, "/retry")
}

// takesBody tells whether a body can be sent with a method.
func takesBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPatch
}

// stored is everything that the tables hold of a workspace, and how many rows that is.
func stored(t *testing.T, h *harness, workspaceID int64) (contents string, rows int) {
	t.Helper()
	names, err := h.pool.Query(t.Context(), `SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
		WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attname = 'workspace_id' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(names, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		var text string
		var n int
		if err := h.pool.QueryRow(t.Context(), "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), ''), count(*) FROM "+table+" AS t WHERE workspace_id = $1",
			workspaceID).Scan(&text, &n); err != nil {
			t.Fatal(err)
		}
		contents += table + ":\n" + text + "\n"
		rows += n
	}
	return contents, rows
}

func TestNoMalformedBodyIsTakenByAnyRoute(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	token := h.token(t, f.Owner.Subject)
	before, rows := stored(t, h, f.ID)
	if rows < 6 {
		t.Fatalf("the workspace has %d rows only", rows)
	}
	h = h.hurried(t)
	visited := 0
	walk(t, h, func(method, pattern string) {
		if !takesBody(method) {
			return
		}
		visited++
		for what, body := range malformed() {
			if !readsBody(pattern) && strings.Trim(body, " \t\r\n") == "" {
				continue // which says nothing, as it should
			}
			got, err := h.send(method, address(pattern, f.ID, f.row(pattern)), token, body, "Content-Type", "application/json")
			if err != nil {
				t.Fatal(err)
			}
			if got.status != http.StatusBadRequest || !strings.Contains(got.body, `"urn:runledger:problem:invalid-body"`) {
				t.Errorf("%s %s with %s answers %d %.200s", method, pattern, what, got.status, got.body)
			}
		}
		for header, encoding := range map[string]string{"gzip": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "deflate": "x\x9c", "br": "\x0b", "zstd": "\x28\xb5\x2f\xfd", "identity, gzip": "{}"} {
			got, err := h.send(method, address(pattern, f.ID, f.row(pattern)), token, encoding+strings.Repeat("\x00", 1000), "Content-Encoding", header)
			if err != nil {
				t.Fatal(err)
			}
			if got.status != http.StatusUnsupportedMediaType {
				t.Errorf("%s %s with a body in %s answers %d", method, pattern, header, got.status)
			}
		}
		got, err := h.send(method, address(pattern, f.ID, f.row(pattern)), token, fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		if got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s %s with a body that is too large answers %d", method, pattern, got.status)
		}
	})
	if visited < 9 {
		t.Errorf("%d routes that take a body were visited only", visited)
	}
	if after, _ := stored(t, h, f.ID); after != before {
		t.Errorf("what was refused has left something:\n%s\nwas\n%s", after, before)
	}
}

func TestABodyIsJSONInUTF8AndSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	w.client.Transport = w.plainTransport(t) // the contract knows application/json alone
	run := fmt.Sprintf("/%d", w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID)
	for mediaType, want := range map[string][2]int{
		"application/json":                {http.StatusCreated, http.StatusOK},
		"Application/JSON; charset=UTF-8": {http.StatusCreated, http.StatusOK},
		"application/merge-patch+json":    {http.StatusUnsupportedMediaType, http.StatusUnsupportedMediaType},
		"application/problem+json":        {http.StatusUnsupportedMediaType, http.StatusUnsupportedMediaType},
		"application/json; charset=utf-7": {http.StatusUnsupportedMediaType, http.StatusUnsupportedMediaType},
		"text/json":                       {http.StatusUnsupportedMediaType, http.StatusUnsupportedMediaType},
		"":                                {http.StatusUnsupportedMediaType, http.StatusUnsupportedMediaType},
	} {
		w.must(t, want[0], http.MethodPost, "", `{"type":"inventory_sync"}`, "Content-Type", mediaType)
		w.must(t, want[1], http.MethodPatch, run, `{"status":"running"}`, "Content-Type", mediaType)
	}
}

func TestSoManyFaultsAreToldAndNoMore(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	w.client.Transport = w.plainTransport(t) // it cannot be what the contract wants
	var body strings.Builder
	for i := range 9_000 {
		fmt.Fprintf(&body, `,"x%d":1`, i)
	}
	got := w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, "", `{"type":"inventory_sync"`+body.String()+`}`)
	if len(got.Errors) != 100 {
		t.Errorf("%d faults are told", len(got.Errors))
	}
}
