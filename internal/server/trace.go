package server

import (
	"context"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// startSpan starts the span of a request, below the one that its traceparent names.
func (s *Server) startSpan(r *http.Request) (context.Context, trace.Span) { //nolint:ireturn // OpenTelemetry's way
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	name, method := spanMethod(r.Method)
	return s.tracer.Start(ctx, name, //nolint:spancheck // the caller ends it
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", method)))
}

// spanMethod is what stands for a method in the name and in the attributes of a span. OpenTelemetry's conventions
// have one value for all that are no methods of HTTP, as clients may send whatever they like.
func spanMethod(method string) (name, attribute string) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return method, method
	default:
		return "HTTP", "_OTHER"
	}
}

// describeSpan says in the span of a request how it was answered, and names it after its route as
// OpenTelemetry's conventions for HTTP want it. It holds no address and no query, which may name
// people and things.
func describeSpan(span trace.Span, req *request, method string, status int) {
	if !span.IsRecording() {
		return
	}
	if route := req.pattern(); route != "" {
		name, _ := spanMethod(method)
		span.SetName(name + " " + route)
		span.SetAttributes(attribute.String("http.route", route))
	}
	span.SetAttributes(
		attribute.Int("http.response.status_code", status),
		attribute.String("runledger.request_id", req.id),
		attribute.Int64("runledger.workspace_id", req.workspaceID),
	)
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
}

// traceID is the attribute of a log line that names the trace of its request; an empty one, which
// is not written, where there is none.
func traceID(ctx context.Context) slog.Attr {
	if at := trace.SpanContextFromContext(ctx); at.IsValid() {
		return slog.String("trace_id", at.TraceID().String())
	}
	return slog.Attr{}
}
