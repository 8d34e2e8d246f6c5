package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/internal/dbtest"
)

const monitoringDocs = "../../docs/monitoring/"

// metric is what is known of one: its labels in their order, and its kind.
type metric struct {
	labels []string
	kind   string
}

// documentedMetrics reads the table of docs/monitoring/README.md.
func documentedMetrics(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile(monitoringDocs + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(runledger_[a-z_]+)` \\|(.*?)\\| (counter|gauge|histogram) \\|")
	documented := map[string]metric{}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		m := metric{kind: match[3]}
		for _, label := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(match[2], -1) {
			m.labels = append(m.labels, label[1])
		}
		slices.Sort(m.labels)
		documented[match[1]] = m
	}
	if len(documented) < 30 {
		t.Fatalf("only %d metrics are documented", len(documented))
	}
	return documented
}

// expressions are those of the dashboard and of the alerts, by where they stand.
func expressions(t *testing.T) (dashboard, alerts map[string]string) {
	t.Helper()
	read := func(name string) []byte {
		text, err := os.ReadFile(monitoringDocs + name)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Definition string } }
	}
	if err := json.Unmarshal(read("dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	dashboard, alerts = map[string]string{}, map[string]string{}
	ids := map[int]bool{}
	for _, panel := range board.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels have the id %d", panel.ID)
		}
		ids[panel.ID] = true
		for i, target := range panel.Targets {
			dashboard[fmt.Sprintf("panel %s, %d", panel.Title, i)] = target.Expr
		}
	}
	for _, variable := range board.Templating.List {
		if variable.Definition != "" { // that of the data source has none
			dashboard["variable "+variable.Definition] = variable.Definition
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(read("alerts.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	tests := string(read("alerts_test.yml"))
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			alerts[rule.Alert] = rule.Expr
			if !strings.Contains(tests, rule.Alert+"\"") && !strings.Contains(tests, "alertname: "+rule.Alert+"\n") && !strings.Contains(tests, "alertname: "+rule.Alert+",") {
				t.Errorf("nothing shows what %s fires on", rule.Alert)
			}
		}
	}
	if len(dashboard) < 40 || len(alerts) < 15 {
		t.Fatalf("there are %d expressions in the dashboard and %d alerts", len(dashboard), len(alerts))
	}
	return dashboard, alerts
}

// named are the metrics in an expression of PromQL, as the families that they belong to.
func named(expression string, exposed map[string]metric) []string {
	expression = regexp.MustCompile(`\{[^}]*\}|"[^"]*"`).ReplaceAllString(expression, "")
	var names []string
	for _, name := range regexp.MustCompile(`\b(runledger|go|process|promhttp)_[a-z_]+\b`).FindAllString(expression, -1) {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if family := strings.TrimSuffix(name, suffix); exposed[family].kind == "histogram" {
				name = family
			}
		}
		names = append(names, name)
	}
	return names
}

// scrape reads what a server exposes.
func scrape(t *testing.T, addr string) map[string]metric {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("a scrape gets %d: %v", resp.StatusCode, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	exposed := map[string]metric{}
	for name, family := range families {
		m := metric{kind: strings.ToLower(family.GetType().String())}
		for _, label := range family.GetMetric()[0].GetLabel() {
			m.labels = append(m.labels, label.GetName())
		}
		slices.Sort(m.labels)
		exposed[name] = m
	}
	return exposed
}

// freeAddress is an address that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// exposedByAServer are the metrics of a server that has a database with everything in it, once all
// that are documented are there, or it is plain that they do not come.
func exposedByAServer(t *testing.T, documented map[string]metric) map[string]metric {
	t.Helper()
	databaseURL, admin := dbtest.Fresh(t), freeAddress(t)
	keys := httptest.NewServer(http.NotFoundHandler()) // no token is verified here
	defer keys.Close()
	environ := []string{
		"RUNLEDGER_DATABASE_URL=" + databaseURL, "RUNLEDGER_DATABASE_REPLICA_URL=" + databaseURL, "RUNLEDGER_ADDR=127.0.0.1:0", "RUNLEDGER_ADMIN_ADDR=" + admin,
		"RUNLEDGER_SHUTDOWN_DELAY=0s", "RUNLEDGER_SWEEP_INTERVAL=100ms", "RUNLEDGER_SURVEY_INTERVAL=100ms", "RUNLEDGER_RETENTION_INTERVAL=1h",
		"RUNLEDGER_JWT_JWKS_URL=" + keys.URL, "RUNLEDGER_JWT_ISSUER=i", "RUNLEDGER_JWT_AUDIENCE=a", "RUNLEDGER_LOG_LEVEL=warn",
	}
	does(t, environ, "seed", "--runs", "1000", "--workspaces", "1")
	c, err := readConfig(environ, needDatabase, needVerifier)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- (&app{stdout: t.Output(), stderr: t.Output()}).serve(ctx, c, c.listen, func(addr, _ string) { ready <- addr })
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	base := "http://" + <-ready
	for _, path := range []string{"/livez", "/workspaces/1/operation-runs"} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()

	tick, late := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for {
		exposed := scrape(t, admin)
		missing := slices.DeleteFunc(slices.Collect(maps.Keys(documented)), func(name string) bool {
			_, ok := exposed[name]
			return ok
		})
		if len(missing) == 0 {
			return exposed
		}
		select {
		case <-tick.C:
		case <-late:
			t.Errorf("a server does not expose %v", missing)
			return exposed
		}
	}
}

// What operators look at and are woken by is what a server exposes: a metric that was renamed leaves
// no panel empty and no alert silent unnoticed.
func TestDashboardAlertsAndDocumentsNameTheMetricsThatAServerExposes(t *testing.T) {
	t.Parallel()
	documented := documentedMetrics(t)
	dashboard, alerts := expressions(t)
	exposed := exposedByAServer(t, documented)

	for name, m := range exposed {
		if !strings.HasPrefix(name, "runledger_") {
			continue
		}
		if told, ok := documented[name]; !ok || told.kind != m.kind || !slices.Equal(told.labels, m.labels) {
			t.Errorf("%s is a %s by %v; docs/monitoring/README.md has %+v", name, m.kind, m.labels, told)
		}
	}
	shown := map[string]bool{}
	for _, expressions := range []map[string]string{dashboard, alerts} {
		for where, expression := range expressions {
			names := named(expression, exposed)
			if len(names) == 0 && !strings.Contains(expression, "up{") {
				t.Errorf("%s names no metric: %s", where, expression)
			}
			for _, name := range names {
				shown[name] = true
				if _, ok := exposed[name]; !ok {
					t.Errorf("%s names %s, which no server exposes", where, name)
				}
			}
			for _, label := range regexp.MustCompile(`([a-z_]+) *(?:=~|!~|!=|=) *"`).FindAllStringSubmatch(expression, -1) {
				known := label[1] == "job" || label[1] == "instance"
				for _, name := range names {
					known = known || slices.Contains(exposed[name].labels, label[1])
				}
				if !known {
					t.Errorf("%s selects by %s, which is a label of none of %v", where, label[1], names)
				}
			}
		}
	}
	for name := range documented {
		if !shown[name] {
			t.Errorf("%s is in no panel and no alert", name)
		}
	}
}

// The panels' expressions are parsed by the program that will evaluate them, as recording rules.
func TestThePanelsOfTheDashboardArePromQL(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH: apt-get install prometheus; make lint-monitoring wants it")
	}
	dashboard, _ := expressions(t)
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	for where, expression := range dashboard {
		if strings.HasPrefix(where, "variable ") { // Grafana's own label_values
			continue
		}
		expression = strings.ReplaceAll(expression, "$__rate_interval", "5m")
		expression = regexp.MustCompile(`\$[a-z_]+`).ReplaceAllString(expression, "x")
		rules = append(rules, rule{fmt.Sprintf("panel:%d", len(rules)), expression})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput()
	if want := fmt.Sprintf("SUCCESS: %d rules found", len(rules)); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("promtool: %v\n%s\nof\n%s", err, out, text)
	}
}
