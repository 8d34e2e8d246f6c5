package telemetry

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Traces makes spans and sends them to a collector.
type Traces struct{ provider *sdktrace.TracerProvider }

// NewTraces starts to send spans. OpenTelemetry's library reads the standard variables for sampling
// (OTEL_TRACES_SAMPLER), batching (OTEL_BSP_…), the limits of spans and the attributes of their
// resource (OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME) by itself; version is what the resource says
// of the build. What goes wrong is logged. Close ends it.
func NewTraces(ctx context.Context, e Exporter, version string, log *slog.Logger) (*Traces, error) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("traces are incomplete", slog.Any("error", err))
	}))
	host, err := resource.New(ctx, resource.WithHost())
	if err != nil { // a host without a name is no reason not to serve
		log.Warn("traces do not say which host they are of", slog.Any("error", err))
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "runledger"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv()) // last, for it says what the operator wants it to be
	if err == nil {
		described, err = resource.Merge(host, described)
	}
	if err != nil {
		return nil, fmt.Errorf("describe this server for its traces: %w", err)
	}
	exporter, err := otlptrace.New(ctx, newOTLPClient(e))
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	return &Traces{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))}, nil
}

// Provider is what makes the spans.
func (t *Traces) Provider() trace.TracerProvider { return t.provider } //nolint:ireturn // OpenTelemetry's way

// Queries traces the statements of requests that are traced, by their names and without their
// arguments.
func (t *Traces) Queries() pgx.QueryTracer {
	return otelpgx.NewTracer(
		otelpgx.WithTracerProvider(t.provider),
		otelpgx.WithSpanNameCtxFunc(func(_ context.Context, sql string) string { return QueryName(sql) }),
		otelpgx.WithDisableSQLStatementInAttributes(),
	)
}

// Close sends what is left, until ctx ends.
func (t *Traces) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }
