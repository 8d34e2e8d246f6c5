package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/internal/telemetry"
)

// readExporter reads the standard variables that say where spans go (OpenTelemetry's specification
// of the OTLP exporter); nil if they name no collector. What OpenTelemetry's library reads by itself
// is said at telemetry.NewTraces.
func readExporter(environ map[string]string, f *faults) *telemetry.Exporter { //nolint:cyclop // a variable after the other
	read := func(name string) (value, variable string) {
		if value := environ["OTEL_EXPORTER_OTLP_TRACES_"+name]; value != "" {
			return value, "OTEL_EXPORTER_OTLP_TRACES_" + name
		}
		return environ["OTEL_EXPORTER_OTLP_"+name], "OTEL_EXPORTER_OTLP_" + name
	}
	endpoint, variable := read("ENDPOINT")
	if endpoint == "" || strings.EqualFold(environ["OTEL_SDK_DISABLED"], "true") || environ["OTEL_TRACES_EXPORTER"] == "none" {
		return nil
	}
	const usual = 10 * time.Second
	e := &telemetry.Exporter{URL: endpoint, Timeout: usual}
	if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" { // of all signals; only the one for traces is used as it is
		e.URL = strings.TrimSuffix(endpoint, "/") + "/v1/traces"
	}
	if u, err := url.Parse(e.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		f.add(variable, "wants the address of a collector, such as http://localhost:4318")
	}
	if protocol, variable := read("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		f.add(variable, "wants http/protobuf, which is what there is here")
	}
	if text, variable := read("TIMEOUT"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			f.add(variable, "wants milliseconds")
		}
		e.Timeout = time.Duration(n) * time.Millisecond
	}
	compression, variable := read("COMPRESSION")
	if e.Gzip = compression == "gzip"; !e.Gzip && compression != "" && compression != "none" {
		f.add(variable, "wants gzip or none")
	}
	headers, variable := read("HEADERS")
	e.Headers = readHeaders(headers, variable, f)
	file, variable := read("CERTIFICATE")
	e.TLS = readCertificate(file, variable, f)
	checkResource(environ, f)
	return e
}

// checkResource finds attributes that OpenTelemetry's library would refuse without saying where they
// come from.
func checkResource(environ map[string]string, f *faults) {
	const variable = "OTEL_RESOURCE_ATTRIBUTES"
	attributes := strings.TrimSpace(environ[variable])
	for pair := range strings.SplitSeq(attributes, ",") {
		if attributes != "" && !strings.Contains(pair, "=") {
			f.add(variable, "wants name=value, with commas between")
		}
	}
}

// readHeaders reads the headers that a collector wants to see.
func readHeaders(text, variable string, f *faults) map[string]string {
	headers := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); name != "" && ok && err == nil {
			headers[name] = value
		} else if pair != "" {
			f.add(variable, "wants name=value, with commas between")
		}
	}
	return headers
}

// readCertificate reads the certificates that a collector's is to be signed by; nil for the
// system's.
func readCertificate(file, variable string, f *faults) *tls.Config {
	if file == "" {
		return nil
	}
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(file); err != nil || !roots.AppendCertsFromPEM(pem) {
		f.add(variable, "wants a file with certificates in PEM")
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
