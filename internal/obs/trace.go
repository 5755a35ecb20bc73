package obs

import (
	"context"
	"strings"
	"time"
)

// TraceHeader carries a [TraceParent], in HTTP and at the broker.
const TraceHeader = "traceparent"

// A TraceParent names a span of a trace, and says whether the trace is recorded:
// version 00 of the header (W3C Trace Context, section 3.2). Empty is none.
type TraceParent string

// lengths of a trace parent and its parts: 00-TRACE-SPAN-FLAGS.
const (
	traceParentLength = 2 + 1 + 32 + 1 + 16 + 1 + 2
	traceEnd          = 35
	spanEnd           = 52
)

// ParseTraceParent returns s if it is a valid trace parent, else none. Whoever sent
// it can say anything that has this form, and nothing else.
func ParseTraceParent(s string) TraceParent {
	if len(s) != traceParentLength || s[:3] != "00-" || s[traceEnd] != '-' || s[spanEnd] != '-' {
		return ""
	}
	trace, span, flags := s[3:traceEnd], s[traceEnd+1:spanEnd], s[spanEnd+1:]
	if strings.Trim(trace+span+flags, "0123456789abcdef") != "" || strings.Trim(trace, "0") == "" || strings.Trim(span, "0") == "" {
		return ""
	}
	return TraceParent(s)
}

// Parts returns the trace, the span and the flags of one that is not empty, each
// in hexadecimal.
func (p TraceParent) Parts() (trace, span, flags string) {
	return string(p[3:traceEnd]), string(p[traceEnd+1 : spanEnd]), string(p[spanEnd+1:])
}

type traceKey struct{}

// WithTraceParent returns a context with p in it, in place of any other.
func WithTraceParent(ctx context.Context, p TraceParent) context.Context {
	return context.WithValue(ctx, traceKey{}, p)
}

// TraceParentOf returns what [WithTraceParent] has put into a context.
func TraceParentOf(ctx context.Context) TraceParent {
	p, _ := ctx.Value(traceKey{}).(TraceParent)
	return p
}

// A Tracer records what becomes of requests.
type Tracer interface {
	// Begin begins a span that is a part of parent, or of a new trace where that
	// is empty.
	Begin(name string, parent TraceParent, begun time.Time) Span
}

// A Span is a part of a trace. What is set in it is from closed sets, or a name
// that the configuration gives; never what says who or why.
type Span interface {
	Parent() TraceParent // for what is to be a part of this one
	Step(step Step, begun, ended time.Time)
	Set(name, value string) // name is that of a log field
	End(at time.Time)       // only the first counts
}
