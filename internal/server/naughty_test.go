package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// naughtyTexts are texts that have broken other programs.
func naughtyTexts() []string {
	texts := []string{
		" ", "  leading", "trailing  ", "undefined", "null", "NULL", "(null)", "nil", "None", "true", "false", "NaN", "Infinity", "-0", "1e1000", "0x0", "1/0", "00", "1,000",
		"\\", "\\\\", "\\n", "\\u0041", "\\u0000", "\\0", "\\x00", `"`, `'`, `''`, "``", `"'"'`, "/", "//", "../../../../etc/passwd", "C:\\CON", "file:///etc/passwd", "~", "#", "{}", "[]", "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>",
		"%s%s%s%n", "%d", "%x%x%x", "%00", "%0a%0d", "%", "%%", "{0}", "{:?}", "$1", "$$", "$HOME", "`id`", "$(id)", "; id", "| id", "&& id", "-1 OR 1=1", "--version", "-",
		"' OR '1'='1", "'; DROP TABLE operation_runs; --", "' UNION SELECT NULL --", "1; SELECT pg_sleep(60)", "\"; --", "E'\\047'", "'||(SELECT version())||'", "$tag$x$tag$", "/* */", "--",
		"<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</script>", "]]>", "<!--", "&amp;&lt;", "javascript:alert(1)", "=1+1", "@SUM(1)", "+1", "\u003c",
		"\t", "\n", "\r", "\r\n", "\r\nX-Injected: yes", "a\vb", "a\fb", "\b", "\a", "\x1b[31m", "\x01", "\x02\x03\x1f", "\x7f", "\u0080", "\u0085", "\u009f", "\u00a0", "\u00ad",
		"\u200b", "\u200c\u200d", "\u200e\u200f", "\u202a\u202b\u202c\u202d\u202e", "\u2028", "\u2029", "\u2060", "\u2066\u2069", "\u3000", "\ufeff", "\ufffe", "\uffff", "\ufffd", "\ufff9\ufffa", "\ue000", "\U000e0001", "\U000e0020", "\U000f0000", "\U0010ffff", "\U0001fffe",
		"Ω≈ç√∫", "åß∂ƒ", "ÅÍÎÏ˝", "¡™£¢∞§¶", "⅛⅜⅝⅞", "ЁЂЃЄ", "٠١٢٣", "田中さん", "部落格", "사회과학원", "찦차를", "Ⱥ", "Ⱦ", "ſ", "ß", "İ", "ı", "ǅ", "ﬀ", "Å", "Å", "e\u0301", "é", "שלום", "مرحبا", "مُنَاقَشَةُ", "הָיְתָה", "👍", "👩🏽‍👩🏽‍👧", "🏳️‍🌈", "🇺🇸🇷🇺", "🇺", "0️⃣", "1️⃣", "😀\u0000"[:4],
		"Ṱ̺̺̕o͞ ̷i̲̬n̝̗v̟̜o̘̩k̲̫e", "T\u0336h\u0336e", strings.Repeat("\u0301", 100), "ʇǝɯɐ ʇıs", "𝔗𝔥𝔢", "⒯⒣⒠", "﷽", "￾", "Powerلُلُصّبُلُلصّبُررً ॣ ॣh ॣ ॣ冗", "జ్ఞా",
		strings.Repeat("a", 255), strings.Repeat("€", 255), strings.Repeat("😀", 255), strings.Repeat("\"", 255), strings.Repeat("\\", 255), strings.Repeat("\x01", 255), strings.Repeat("a", 256), strings.Repeat("😀", 5000), strings.Repeat("a", 100_000),
		"", "\x00", "a\x00b", "\x00\x00",
	}
	return texts
}

// textField is a place for a text in the body of a writing route.
type textField struct {
	name   string // the members to it in the answer's row, with dots between; empty if it is not to be seen there
	method string
	route  string // below the workspace; {run}, {ended}, {finding} and {schedule} stand for ids
	body   string // with %s for the text as JSON and {n} for a number that no other text has
	many   string // what a batch is around such bodies, with %s for them; empty where the body is the whole
	row    string // in a batch, the member of each result that is the row
	read   string // where the row is read again, with {id}
}

// textFields are all of them.
func textFields() []textField {
	start := func(name, member string) textField {
		return textField{name, http.MethodPost, "/operation-runs", `{"type":"inventory_sync",` + member + `}`, "", "", "/operation-runs/{id}"}
	}
	batch := func(name, member string) textField {
		return textField{name, http.MethodPost, "/operation-runs/batch", `{"start":{"type":"inventory_sync",` + member + `}}`, `{"operations":[%s]}`, "operation_run", "/operation-runs/{id}"}
	}
	report := func(name, member string) textField {
		return textField{name, http.MethodPatch, "/operation-runs/{run}", `{` + member + `}`, "", "", "/operation-runs/{id}"}
	}
	finding := func(name, given string) textField {
		return textField{name, http.MethodPost, "/findings/batch", `{` + given + `}`, `{"findings":[%s]}`, "finding", "/findings/{id}"}
	}
	item := func(name, given string) textField {
		return textField{name, http.MethodPost, "/inventory-items/batch", `{` + given + `}`, `{"operation_run_id":{run},"items":[%s]}`, "inventory_item", "/inventory-items/{id}"}
	}
	schedule := func(name, method, route, body string) textField {
		return textField{name, method, route, body, "", "", "/backup-schedules/{id}"}
	}
	return []textField{
		start("type", `"tenant_id":null,"type":%s`), start("initiator_name", `"initiator_name":%s`), start("context.text", `"context":{"text":%s}`), start("context.list.0.0", `"context":{"list":[[%s]]}`),
		start("run_identity_hash", `"run_identity_hash":%s`), start("", `"identity":%s`), start("", `"identity":{"a":[%s]}`), start("", `"context":{%s:1}`),
		batch("initiator_name", `"initiator_name":%s`), batch("context.text", `"context":{"text":%s}`), batch("", `"idempotency_key":%s`),
		report("status", `"status":%s`), report("outcome", `"status":"completed","outcome":%s`), report("context.text", `"context":{"text":%s}`), report("", `"at":%s,"status":"running"`),
		report("failure_summary.0.code", `"failure_summary":[{"code":%s,"message":"m"}]`), report("failure_summary.0.message", `"failure_summary":[{"code":"c","message":%s}]`), report("", `"summary_counts":{%s:1}`),
		{"recall_reason", http.MethodPost, "/operation-runs/{fresh}/recall", `{"reason":%s}`, "", "", "/operation-runs/{id}"},
		{"status", http.MethodPatch, "/findings/{finding}", `{"status":%s}`, "", "", "/findings/{id}"},
		finding("finding_type", `"finding_type":%s,"fingerprint":"f1-{n}"`), finding("fingerprint", `"finding_type":"drift","fingerprint":%s`), finding("scope_key", `"finding_type":"drift","fingerprint":"f2-{n}","scope_key":%s`),
		finding("subject_type", `"finding_type":"drift","fingerprint":"f3-{n}","subject_type":%s`), finding("subject_external_id", `"finding_type":"drift","fingerprint":"f4-{n}","subject_external_id":%s`),
		finding("severity", `"finding_type":"drift","fingerprint":"f5-{n}","severity":%s`), finding("evidence.text", `"finding_type":"drift","fingerprint":"f6-{n}","evidence":{"text":%s}`),
		item("policy_type", `"policy_type":%s,"external_id":"e1-{n}"`), item("external_id", `"policy_type":"p","external_id":%s`), item("display_name", `"policy_type":"p","external_id":"e2-{n}","display_name":%s`),
		item("category", `"policy_type":"p","external_id":"e3-{n}","category":%s`), item("platform", `"policy_type":"p","external_id":"e4-{n}","platform":%s`), item("meta.text", `"policy_type":"p","external_id":"e5-{n}","meta":{"text":%s}`),
		item("", `"policy_type":"p","external_id":"e6-{n}","last_seen_at":%s`),
		schedule("name", http.MethodPost, "/backup-schedules", `{"name":%s,"frequency":"daily","time_of_day":"02:30"}`), schedule("", http.MethodPost, "/backup-schedules", `{"name":"n","frequency":%s,"time_of_day":"02:30"}`),
		schedule("", http.MethodPost, "/backup-schedules", `{"name":"n","frequency":"daily","time_of_day":%s}`), schedule("", http.MethodPost, "/backup-schedules", `{"name":"n","frequency":"daily","time_of_day":"02:30","timezone":%s}`),
		schedule("name", http.MethodPatch, "/backup-schedules/{schedule}", `{"name":%s}`), schedule("timezone", http.MethodPatch, "/backup-schedules/{schedule}", `{"timezone":%s}`),
	}
}

// member is what stands in a document at members with dots between.
func member(document any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		switch inner := document.(type) {
		case map[string]any:
			document = inner[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(inner) {
				return nil
			}
			document = inner[i]
		default:
			return nil
		}
	}
	return document
}

// writer writes texts into fields of one workspace's rows.
type writer struct {
	*harness
	fixture

	token  string
	places *strings.Replacer
}

func (w *writer) ask(t *testing.T, method, path, body string) answer {
	t.Helper()
	if before, after, fresh := strings.Cut(path, "{fresh}"); fresh { // the first reason of a run stays
		path = before + fmt.Sprint(w.ended(t)) + after
	}
	got, err := w.send(method, fmt.Sprintf("/workspaces/%d%s", w.ID, path), w.token, body)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// ended is a run that has just been completed.
func (w *writer) ended(t *testing.T) int64 {
	t.Helper()
	run := decode[runBody](t, w.ask(t, http.MethodPost, "/operation-runs", `{"type":"inventory_sync"}`).body)
	w.ask(t, http.MethodPatch, fmt.Sprintf("/operation-runs/%d", run.ID), `{"status":"completed","outcome":"succeeded"}`)
	return run.ID
}

// written is what came of a text: the status, and the row where there is one.
type written struct {
	text   string
	status int
	row    any
}

// write writes texts into a field, in one batch where the route takes many.
func (w *writer) write(t *testing.T, field textField, texts []string) []written {
	t.Helper()
	var bodies []string
	for n, text := range texts {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, strings.Replace(strings.Replace(w.places.Replace(field.body), "{n}", fmt.Sprint(n), 1), "%s", string(quoted), 1))
	}
	results := make([]written, len(texts))
	for n, body := range bodies {
		results[n].text = texts[n] //nolint:gosec // there is a body for each text
		if field.many == "" {
			got := w.ask(t, field.method, w.places.Replace(field.route), body)
			results[n].status, results[n].row = got.status, decode[map[string]any](t, got.body)
		}
	}
	if field.many == "" {
		return results
	}
	got := w.ask(t, field.method, w.places.Replace(field.route), strings.Replace(w.places.Replace(field.many), "%s", strings.Join(bodies, ","), 1))
	whole := any(decode[map[string]any](t, got.body))
	for n := range results {
		if results[n].status = got.status; got.status == http.StatusMultiStatus {
			inner, _ := member(whole, fmt.Sprintf("results.%d.status", n)).(float64)
			results[n].status, results[n].row = int(inner), member(whole, fmt.Sprintf("results.%d.%s", n, field.row))
		}
	}
	return results
}

func TestATextComesBackAsItWasOrIsRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t).hurried(t)
	f := newFixture(t, h)
	w := &writer{harness: h, fixture: f, token: h.token(t, f.Owner.Subject), places: strings.NewReplacer()}
	w.places = strings.NewReplacer("{run}", fmt.Sprint(f.run), "{finding}", fmt.Sprint(f.finding), "{schedule}", fmt.Sprint(f.schedule))
	var holdable, unholdable []string
	for _, text := range naughtyTexts() {
		if strings.Contains(text, "\x00") {
			unholdable = append(unholdable, text)
		} else {
			holdable = append(holdable, text)
		}
	}
	for i, field := range textFields() {
		t.Run(fmt.Sprintf("%d %s", i, field.name), func(t *testing.T) {
			t.Parallel()
			for _, text := range unholdable {
				// A body that is refused wholly, or the part of a batch.
				if got := w.write(t, field, []string{text})[0]; got.status != http.StatusBadRequest && got.status != http.StatusUnprocessableEntity {
					t.Errorf("%s: %q answers %d", field.body, text, got.status)
				}
			}
			compared := 0
			for n, got := range w.write(t, field, holdable) {
				if got.status < http.StatusOK || got.status >= http.StatusInternalServerError {
					t.Errorf("%s: %.100q answers %d", field.body, got.text, got.status)
				}
				if got.status >= http.StatusMultipleChoices || field.name == "" {
					continue
				}
				compared++
				if is := member(got.row, field.name); is != got.text {
					t.Errorf("%s: %.100q comes back as %.100q", field.body, got.text, is)
				}
				const seldom = 5 // the answer is made of what the database has returned already
				if n%seldom != i%seldom {
					continue
				}
				id, _ := member(got.row, "id").(float64)
				again := w.ask(t, http.MethodGet, strings.Replace(field.read, "{id}", fmt.Sprintf("%.0f", id), 1), "")
				if is := member(any(decode[map[string]any](t, again.body)), field.name); is != got.text && field.method != http.MethodPatch {
					t.Errorf("%s: %.100q is read as %.100q", field.body, got.text, is)
				}
			}
			if !chosen[field.name] && compared < 100 {
				t.Errorf("%s: %d texts were compared only", field.body, compared)
			}
		})
	}
}

// chosen are the fields that take few texts or show none.
var chosen = map[string]bool{
	"": true, "type": true, "status": true, "outcome": true, "severity": true, "timezone": true, "run_identity_hash": true,
}
