package server_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// receiptBody is the receipt of an export.
type receiptBody struct {
	Rows   int64          `json:"rows"`
	First  map[string]any `json:"first"`
	Last   map[string]any `json:"last"`
	SHA256 string         `json:"sha256"`
}

// exported is an export as it came: what precedes the receipt, and the receipt.
type exported struct {
	body    []byte
	receipt receiptBody
	trailer http.Header
}

// export asks for a list in a form, which must come whole.
func (w *worker) export(t testing.TB, path, form string) exported {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.bearer)
	req.Header.Set("Accept", form)
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v: %.300s", path, resp.StatusCode, err, body)
	}
	e := exported{body: body, trailer: resp.Trailer}
	text := resp.Trailer.Get("Receipt")
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/x-ndjson") {
		at := bytes.LastIndexByte(bytes.TrimSuffix(body, []byte("\n")), '\n') + 1
		last := decode[struct{ Receipt json.RawMessage }](t, string(body[at:]))
		e.body, text = body[:at], string(last.Receipt)
	}
	e.receipt = decode[receiptBody](t, text)
	sum := sha256.Sum256(e.body)
	if e.receipt.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("%s: the receipt's sum is %s, of what came it is %x", path, e.receipt.SHA256, sum)
	}
	return e
}

// manyRuns are runs of all kinds, some of them with odd values, more than an export's first page.
func (w *worker) manyRuns(t testing.TB, n int) {
	t.Helper()
	w.exec(t, `INSERT INTO operation_runs (workspace_id, type, status, outcome, created_at, updated_at, completed_at, initiator_name, context, failure_summary, stalled_at)
		SELECT $1, (ARRAY['inventory_sync', 'drift_generate_findings', 'backup_schedule_run'])[n % 3 + 1],
		       CASE n % 2 WHEN 0 THEN 'queued' ELSE 'completed' END, CASE n % 2 WHEN 0 THEN 'pending' ELSE 'failed' END,
		       CASE WHEN n % 11 > 0 THEN timestamptz '2026-01-01 00:00:00Z' + (n % 50) * interval '1.5 seconds' END,
		       CASE WHEN n % 13 > 0 THEN timestamptz '2026-01-02 00:00:00Z' + (n % 70) * interval '1 second' END,
		       CASE n % 2 WHEN 1 THEN now() END,
		       (ARRAY['Ada', '=1+1', '+cmd', '-2', '@SUM(A1)', E'\tx', E'a "quote", a comma\nand a line', '', '''=x', '''plain', '＝full', E'\r', 'Ünï'])[n % 13 + 1],
		       CASE WHEN n % 9 > 0 THEN jsonb_build_object('backup_schedule_id', n % 4, 'text', repeat('ü', n % 100)) END,
		       CASE WHEN n % 8 > 0 THEN '[{"code": "x", "message": "a\nb"}]'::jsonb END, CASE WHEN n % 10 = 0 THEN now() END
		FROM generate_series(1, $2) AS n`, w.ID, n)
}

func TestAnExportIsTheListWholeWithItsReceipt(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	const runs = 800 // so that the last page of the whole list is full
	w.manyRuns(t, runs)
	w.exec(t, "INSERT INTO backup_schedules (workspace_id, id, name, frequency, time_of_day) VALUES ($1, 2, 'x', 'daily', '00:00')", w.ID)
	plain := &worker{harness: w.hurried(t), Workspace: w.Workspace, bearer: w.bearer} // the contract's runs have all members
	for _, list := range []string{w.path(""), fmt.Sprintf("/workspaces/%d/backup-schedules/2/runs", w.ID)} {
		for _, query := range []string{
			"", "order=created_at", "order=updated_at", "type=inventory_sync,backup_schedule_run&order=created_at", "status=queued&fields=type,created_at",
			"failure_code=x&order=updated_at", "created_from=2026-01-01T00:00:20Z", "outcome=blocked", "fields=initiator_name,context,stalled&order=updated_at",
		} {
			values, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			w := w
			if values.Has("fields") {
				w = plain
			}
			var want []map[string]any
			w.visit(t, w.bearer, list+"?limit=200&"+query, func(p page) { want = append(want, p.Data...) })
			lines, table := w.export(t, list+"?"+query, "application/x-ndjson"), w.export(t, list+"?"+query, "text/csv")
			var got []map[string]any
			scanner := bufio.NewScanner(bytes.NewReader(lines.body))
			for scanner.Scan() {
				got = append(got, decode[map[string]any](t, scanner.Text()))
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s?%s: the lines are %d runs and not the %d of the list", list, query, len(got), len(want))
			}
			if rows := readTable(t, table.body); len(rows) != len(want) || !slices.EqualFunc(rows, want, sameRun) {
				t.Errorf("%s?%s: the table is %d runs and not the %d of the list", list, query, len(rows), len(want))
			}
			order := strings.TrimPrefix(values.Get("order"), "-")
			if order == "" {
				order = "created_at"
			}
			for _, e := range []exported{lines, table} {
				if e.receipt.Rows != int64(len(want)) || (len(want) == 0) != (e.receipt.First == nil) {
					t.Errorf("%s?%s: the receipt is %+v of %d runs", list, query, e.receipt, len(want))
				} else if len(want) > 0 && (!isPosition(e.receipt.First, want[0], order) || !isPosition(e.receipt.Last, want[len(want)-1], order)) {
					t.Errorf("%s?%s: the receipt is %+v of what begins with %v", list, query, e.receipt, want[0])
				}
			}
			sum := sha256.Sum256(table.body)
			if digest := table.trailer.Get("Digest"); digest != "sha-256="+base64.StdEncoding.EncodeToString(sum[:]) {
				t.Errorf("%s?%s: Digest %q", list, query, digest)
			}
		}
	}
}

// isPosition tells whether an end in a receipt is that of a row, which may show fewer members.
func isPosition(end, row map[string]any, instant string) bool {
	at, shown := row[instant]
	return end["id"] == row["id"] && (!shown || end[instant] == at)
}

// formulaSigns are what a spreadsheet takes for the beginning of a formula, or passes over before one.
const formulaSigns = "=+-@\t\r\n＝＋－＠"

// beginsFormula tells whether a field begins with such a sign.
func beginsFormula(field string) bool {
	return strings.IndexAny(field, formulaSigns) == 0
}

// readTable reads CSV as its reader would who takes the apostrophes away again.
func readTable(t testing.TB, table []byte) []map[string]string {
	t.Helper()
	records, err := csv.NewReader(bytes.NewReader(table)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]map[string]string, 0, len(records))
	for _, record := range records[1:] {
		row := map[string]string{}
		for i, field := range record {
			if beginsFormula(field) {
				t.Errorf("a spreadsheet would calculate %q", field)
			} else if bare := strings.TrimLeft(field, "'"); bare != field && beginsFormula(bare) {
				field = field[1:]
			}
			row[records[0][i]] = field
		}
		rows = append(rows, row)
	}
	return rows
}

// sameRun tells whether a row of a table says what a run says.
func sameRun(row map[string]string, run map[string]any) bool {
	if len(row) != len(run) {
		return false
	}
	for name, value := range run {
		text := row[name]
		switch v := value.(type) {
		case nil:
			if text != "" {
				return false
			}
		case string:
			// Reading CSV makes one line break of the two characters for it.
			if strings.ReplaceAll(v, "\r\n", "\n") != text {
				return false
			}
		default:
			var read any
			if json.Unmarshal([]byte(text), &read) != nil || !reflect.DeepEqual(read, value) {
				return false
			}
		}
	}
	return true
}

func TestATableDefusesFormulasAndLinesLeaveThemAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	fields := map[string]string{ // as it is stored: as the table's bytes have it
		"": "", "Ada": "Ada", "a=1": "a=1", "1-2": "1-2", " =1": " =1", "'Ada": "'Ada", "''": "''", "Ünï": "Ünï", "（1）": "（1）",
	}
	for _, sign := range formulaSigns {
		for _, rest := range []string{"", "1+1", `cmd|' /C calc'!A0`, string(sign)} {
			fields[string(sign)+rest] = `"'` + string(sign) + rest + `"`
			fields["'"+string(sign)+rest] = `"''` + string(sign) + rest + `"`
		}
		fields[string(sign)+`HYPERLINK("x","y")`] = `"'` + string(sign) + `HYPERLINK(""x"",""y"")"`
	}
	names := slices.Sorted(maps.Keys(fields))
	w.exec(t, `INSERT INTO operation_runs (workspace_id, type, initiator_name, failure_summary, status, outcome, completed_at)
		SELECT $1, 'inventory_sync', name, jsonb_build_array(jsonb_build_object('code', 'x', 'message', name)), 'completed', 'failed', now()
		FROM unnest($2::text[]) AS name`, w.ID, names)
	plain := &worker{harness: w.hurried(t), Workspace: w.Workspace, bearer: w.bearer} // the contract's runs have all members
	path := w.path("?fields=initiator_name,failure_summary")
	failures := func(name string) string {
		message, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		return `[{"code": "x", "message": ` + string(message) + `}]`
	}
	var lines []string
	for line := range strings.Lines(string(plain.export(t, path, "application/x-ndjson").body)) {
		run := decode[struct {
			InitiatorName string                     `json:"initiator_name"`
			Failures      []struct{ Message string } `json:"failure_summary"`
		}](t, line)
		if len(run.Failures) != 1 || run.Failures[0].Message != run.InitiatorName {
			t.Errorf("the line %s has another message", line)
		}
		lines = append(lines, run.InitiatorName)
	}
	slices.Sort(lines)
	if !slices.Equal(lines, names) {
		t.Errorf("the lines have the names\n%q, want\n%q", lines, names)
	}
	table := string(plain.export(t, path, "text/csv").body)
	for _, name := range names {
		// The failures are one field of JSON, which begins with a bracket whatever the message is.
		want := fields[name] + `,"` + strings.ReplaceAll(failures(name), `"`, `""`) + `"`
		if !strings.Contains(table, want) {
			t.Errorf("the name and message %q are not in the table as %s", name, want)
		}
	}
	for _, row := range readTable(t, []byte(table)) {
		if !strings.HasPrefix(row["failure_summary"], "[") {
			t.Errorf("the failures %q do not begin as JSON", row["failure_summary"])
		}
	}
}

func TestAListComesInTheFormThatIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	for accept, want := range map[string]string{
		"": "application/json", "*/*": "application/json", "application/*": "application/json", "text/*": "text/csv; charset=utf-8; header=present",
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "application/json",
		"application/x-ndjson":                         "application/x-ndjson",
		"application/json;q=0.5, application/x-ndjson": "application/x-ndjson",
		"text/csv;q=0.1, application/json;q=0":         "text/csv; charset=utf-8; header=present",
		"*/*;q=0.2, application/json;q=0.1":            "application/x-ndjson",
		`application/json; profile="a,b\",c"`:          "application/json", `text/csv;x="\\",application/x-ndjson;q=0.5`: "text/csv; charset=utf-8; header=present",
		"text/html": "406", "application/json;q=0": "406", "nonsense": "406", "text/csv;q=x": "406", "text/csv;q=0, image/*": "406",
	} {
		header := []string{}
		if accept != "" {
			header = []string{"Accept", accept}
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			got := w.do(t, method, w.path(""), w.bearer, header...)
			if form := got.header.Get("Content-Type"); form != want && (want != "406" || got.status != http.StatusNotAcceptable) {
				t.Errorf("%s with Accept %q: %d %s, want %s", method, accept, got.status, form, want)
			}
		}
	}
	// Nothing else that lists has other forms, or looks at the header.
	if got := w.do(t, http.MethodGet, fmt.Sprintf("/workspaces/%d/findings", w.ID), w.bearer, "Accept", "text/csv"); got.status != http.StatusOK {
		t.Errorf("findings with Accept text/csv: %d", got.status)
	}
	got := decode[problemBody](t, w.do(t, http.MethodGet, w.path("?limit=5&cursor=x&fields=no&type=,"), w.bearer, "Accept", "text/csv").body)
	if want := []string{"cursor", "fields", "limit", "type"}; !slices.Equal(got.pointers(), want) {
		t.Errorf("faults at %v, want %v", got.pointers(), want)
	}
}

func TestTheReceiptOfATableIsATrailerAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	for _, encoding := range []string{"identity", "gzip", "zstd"} {
		got := w.do(t, http.MethodGet, w.path("?fields=id"), w.bearer, "Accept", "text/csv", "Accept-Encoding", encoding)
		if got.status != http.StatusOK || got.header.Values("Receipt") != nil || got.header.Values("Digest") != nil || got.header.Get("Trailer") != "" {
			t.Errorf("%s: %d with the header %v", encoding, got.status, got.header) // net/http moves Trailer elsewhere
		}
	}
	for form, want := range map[string]int{"text/csv": http.StatusNotAcceptable, "application/x-ndjson": http.StatusOK} {
		got := w.raw(t, "GET "+w.path("")+" HTTP/1.0\r\nAuthorization: Bearer "+w.bearer+"\r\nAccept: "+form+"\r\n\r\n")
		if got != want {
			t.Errorf("%s in HTTP/1.0: %d, want %d", form, got, want)
		}
	}
}

func TestAnExportThatBreaksOffHasNoEndAndNoReceipt(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"application/x-ndjson", "text/csv"} {
		registry := prometheus.NewRegistry()
		w := newWorker(t, newHarnessOn(t, dbtest.Connect(t, dbtest.Fresh(t)), server.Options{Registry: registry}))
		w.exec(t, `INSERT INTO operation_runs (workspace_id, type, context)
			SELECT $1, 'inventory_sync', jsonb_build_object('x', repeat(md5(n::text), 1500)) FROM generate_series(1, 600) AS n`, w.ID)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+w.path(""), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.bearer)
		req.Header.Set("Accept", form)
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		w.exec(t, "ALTER TABLE operation_runs RENAME TO gone")
		rest, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil || bytes.Contains(rest, []byte("receipt")) || resp.Trailer.Get("Receipt") != "" {
			t.Errorf("%s: it ended with %v after %d bytes more, and the trailers %v", form, err, len(rest), resp.Trailer)
		}
		const route = `method="GET",route="/workspaces/{workspace_id}/operation-runs"`
		awaitTrue(t, "the export to be among the requests", func() bool {
			return strings.Contains(told(t, registry), `runledger_http_requests_total{code="200",`+route+"} 1\n")
		})
		if !strings.Contains(told(t, registry), `runledger_http_request_duration_seconds_count{`+route+"} 0\n") {
			t.Errorf("%s: how long it took tells of its reader, and is measured", form)
		}
	}
}

func TestSlowReadersOfExportsHoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	h := newHarnessOn(t, connectPool(t, dbtest.Fresh(t), 2), server.Options{})
	w := newWorker(t, h)
	w.largeRuns(t, 300)
	const most, together = 8, 16 // of one subject, and of a workspace
	readSlowly := func(subject string) {
		slow, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = slow.Close() })
		if _, err := fmt.Fprintf(slow, "GET %s HTTP/1.1\r\nHost: runledger\r\nAuthorization: Bearer %s\r\nAccept: text/csv\r\n\r\n", w.path(""), h.token(t, subject)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(slow, make([]byte, 1)); err != nil { // it is being sent
			t.Fatal(err)
		}
	}
	refuses := func(subject, why string) {
		t.Helper()
		if got := h.do(t, http.MethodGet, w.path(""), h.token(t, subject), "Accept", "text/csv"); got.status != http.StatusTooManyRequests || !strings.Contains(got.body, why) {
			t.Errorf("one more: %d %s", got.status, got.body)
		}
	}
	for range most {
		readSlowly(w.Owner.Subject)
	}
	refuses(w.Owner.Subject, "One subject may have 8 exports")
	for range together - most {
		readSlowly(w.Manager.Subject)
	}
	refuses(w.Readonly.Subject, "One workspace may have 16 exports")
	other := newWorker(t, h)
	run := other.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	if got := other.export(t, other.path(""), "text/csv"); got.receipt.Rows != 1 || !bytes.Contains(got.body, fmt.Append(nil, run.ID)) {
		t.Errorf("the export of another has %d rows", got.receipt.Rows)
	}
}

func TestThereAreOnlySoManyExportsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newWorker(t, h)
	h.server.TakeExportSlots()
	got := h.do(t, http.MethodGet, w.path(""), w.bearer, "Accept", "text/csv")
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, ":overloaded") {
		t.Errorf("%d %s", got.status, got.body)
	}
}
