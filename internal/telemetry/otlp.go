package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Exporter says where spans go: to a collector that takes OTLP over HTTP with binary protobuf.
type Exporter struct {
	URL     string            // such as http://localhost:4318/v1/traces
	Headers map[string]string // of each request
	Timeout time.Duration     // of a batch of spans, with all its tries
	Gzip    bool              // compress what is sent
	TLS     *tls.Config       // for https; nil for the system's
}

// otlpClient sends spans. It is what OpenTelemetry's otlptracehttp does, without the eight megabytes
// of gRPC that its protocol's generated code brings along.
type otlpClient struct {
	Exporter

	http *http.Client
}

func newOTLPClient(e Exporter) *otlpClient {
	const idle = 30 * time.Second
	return &otlpClient{Exporter: e, http: &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: e.TLS, IdleConnTimeout: idle, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Start implements otlptrace.Client.
func (*otlpClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *otlpClient) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. What may succeed later is tried again until the time of
// the batch is over.
func (c *otlpClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	if len(spans) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	body, err := c.encode(spans)
	if err != nil {
		return err
	}
	const first, longest = 500 * time.Millisecond, 5 * time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		wait, err := c.post(ctx, body)
		if err == nil || wait < 0 {
			return err
		}
		wait = max(wait, pause/2+rand.N(pause)) //nolint:gosec // nobody gains from guessing it
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// encode is the body for spans. ExportTraceServiceRequest, which the protocol wants, has the one
// field of TracesData under the same number.
func (c *otlpClient) encode(spans []*tracepb.ResourceSpans) ([]byte, error) {
	plain, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil || !c.Gzip {
		return plain, err
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(plain)
	// Closed first: the end of what is packed is written then.
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// post tries once. A negative wait says that another try would fail as well.
func (c *otlpClient) post(ctx context.Context, body []byte) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	for name, value := range c.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	if c.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		// A url.Error repeats the address, whose query could be a secret.
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return 0, fmt.Errorf("send spans: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	const longest = 64 << 10
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, longest)) // so that the connection is kept
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return 0, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		wait = time.Duration(max(seconds, 0)) * time.Second
	default:
		wait = -1
	}
	return wait, fmt.Errorf("send spans: the collector answers %s", resp.Status)
}
