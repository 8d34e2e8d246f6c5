package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
)

// collector takes spans over OTLP.
type collector struct {
	mu       sync.Mutex
	spans    []*tracepb.Span
	service  string
	requests []*http.Request
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" && err == nil {
		var unpacked io.Reader
		if unpacked, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(unpacked)
		}
	}
	var data tracepb.TracesData
	if err == nil {
		err = proto.Unmarshal(body, &data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, r)
	for _, resource := range data.GetResourceSpans() {
		c.service += resource.GetResource().String()
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
}

func TestSpansGoToTheCollectorThatTheStandardVariablesName(t *testing.T) {
	t.Parallel()
	collector := &collector{}
	listening := httptest.NewServer(collector)
	defer listening.Close()
	databaseURL := dbtest.Fresh(t)
	w := dbtest.NewWorkspace(t, dbtest.Connect(t, databaseURL))
	c, err := readConfig([]string{
		"RUNLEDGER_DATABASE_URL=" + databaseURL, "RUNLEDGER_ADDR=127.0.0.1:0", "RUNLEDGER_ADMIN_ADDR=127.0.0.1:0", "RUNLEDGER_SHUTDOWN_DELAY=0s",
		"RUNLEDGER_JWT_HS256_SECRET=" + secret, "RUNLEDGER_JWT_ISSUER=i", "RUNLEDGER_JWT_AUDIENCE=a",
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + listening.URL, "OTEL_EXPORTER_OTLP_HEADERS=api-key=it%20is%20me", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
	}, needDatabase, needVerifier)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign(w.Owner.Subject, "i", "a", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- (&app{stdout: t.Output(), stderr: t.Output()}).serve(ctx, c, c.listen, func(addr, _ string) { ready <- addr })
	}()
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s/workspaces/%d/operation-runs", <-ready, w.ID), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	stop() // which sends what is left
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	collector.mu.Lock()
	defer collector.mu.Unlock()
	byName := map[string]*tracepb.Span{}
	for _, span := range collector.spans {
		if fmt.Sprintf("%x", span.GetTraceId()) == "4bf92f3577b34da6a3ce929d0e0e4736" {
			byName[span.GetName()] = span
		}
	}
	server := byName["GET /workspaces/{workspace_id}/operation-runs"]
	if server == nil || fmt.Sprintf("%x", server.GetParentSpanId()) != "00f067aa0ba902b7" || server.GetKind() != tracepb.Span_SPAN_KIND_SERVER {
		t.Fatalf("the request's span is %v of %v", server, byName)
	}
	query := byName["ResolveMemberships"] // as it is called in sql/queries
	if query == nil || !bytes.Equal(query.GetParentSpanId(), server.GetSpanId()) {
		t.Errorf("the span of a query is %v of %v", query, byName)
	}
	if told := fmt.Sprint(byName); strings.Contains(told, w.Owner.Subject) || strings.Contains(told, "SELECT") {
		t.Errorf("a span tells who asked, or a statement: %s", told)
	}
	for _, r := range collector.requests {
		if r.URL.Path != "/v1/traces" || r.Header.Get("Api-Key") != "it is me" || r.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
	}
	if !strings.Contains(collector.service, `"runledger"`) {
		t.Errorf("the service is %s", collector.service)
	}
}

func TestAttributesOfTheResourceThatCannotBeReadAreAFaultOfTheConfiguration(t *testing.T) {
	t.Parallel()
	const traced, variable = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_RESOURCE_ATTRIBUTES"
	if err := build(); err != nil {
		t.Fatal(err)
	}
	for _, attributes := range []string{"hunter2", "deployment.environment=test,hunter2", "deployment.environment=hunter2,"} {
		// A process of its own, for the library reads the process's environment.
		serve := exec.CommandContext(t.Context(), builtBinary, "serve")
		serve.Env = []string{
			"RUNLEDGER_DATABASE_URL=" + dbtest.URL(t), "RUNLEDGER_ADDR=127.0.0.1:0", "RUNLEDGER_ADMIN_ADDR=127.0.0.1:0",
			"RUNLEDGER_JWT_HS256_SECRET=" + secret, "RUNLEDGER_JWT_ISSUER=i", "RUNLEDGER_JWT_AUDIENCE=a", traced, variable + "=" + attributes,
		}
		told, err := serve.CombinedOutput()
		if ended, ok := errors.AsType[*exec.ExitError](err); !ok || ended.ExitCode() != exitUsage ||
			!strings.Contains(string(told), "  "+variable+" wants name=value") || strings.Contains(string(told), "hunter2") {
			t.Errorf("%s: %v: %s", attributes, err, told)
		}
	}
	for _, attributes := range []string{"", " ", "a=b", "a=b, c = d%20e", "a=", "=b"} {
		if _, err := readConfig([]string{traced, variable + "=" + attributes}); err != nil {
			t.Errorf("%q: %v", attributes, err)
		}
	}
	if _, err := readConfig([]string{variable + "=foo"}); err != nil {
		t.Errorf("where nothing is traced: %v", err)
	}
}

func TestNothingIsTracedUnlessTheStandardVariablesSayWhere(t *testing.T) {
	t.Parallel()
	for variables, traced := range map[string]bool{
		"": false, "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318": true, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://c/own": true,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_SDK_DISABLED=true":    false,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_TRACES_EXPORTER=none": false,
	} {
		c, err := readConfig(strings.Fields(variables))
		if err != nil || (c.Exporter != nil) != traced {
			t.Errorf("%s: %+v, %v", variables, c.Exporter, err)
		}
	}
	for _, wrong := range []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c OTEL_EXPORTER_OTLP_TIMEOUT=soon", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c OTEL_EXPORTER_OTLP_COMPRESSION=br",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c OTEL_EXPORTER_OTLP_HEADERS=hunter2", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c OTEL_EXPORTER_OTLP_CERTIFICATE=/nowhere",
	} {
		if _, err := readConfig(strings.Fields(wrong)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
