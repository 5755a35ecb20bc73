package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Step is a part of a request's life that is measured. The set is closed: it is
// a label of metrics.
type Step string

// The steps of a publisher.
const (
	StepAccept Step = "accept" // from the request's arrival until its signed record is stored
	StepStore  Step = "store"  // sealing it, and until the broker has stored it
	StepWait   Step = "wait"   // until the outcome is heard
)

// The steps of a consumer.
const (
	StepTake   Step = "take"   // from the delivery until it is known to be a request for us
	StepOpen   Step = "open"   // decrypting it
	StepFind   Step = "find"   // connecting to the directory, finding the account and judging it
	StepClaim  Step = "claim"  // until the signed claim is stored
	StepModify Step = "modify" // what is asked of the directory, with what follows from it
	StepReply  Step = "reply"  // until the signed outcome is stored
	StepSettle Step = "settle" // until the broker has freed the account's slot
)

// PublisherSteps returns the steps of a publisher, in their order.
func PublisherSteps() []Step { return []Step{StepAccept, StepStore, StepWait} }

// ConsumerSteps returns the steps of a consumer, in their order.
func ConsumerSteps() []Step {
	return []Step{StepTake, StepOpen, StepFind, StepClaim, StepModify, StepReply, StepSettle}
}

// Steps measures how long the steps of requests take, once for metrics and traces.
type Steps struct {
	seconds map[Step]prometheus.Observer
	tracer  Tracer // nil is none
}

// NewSteps returns what measures the steps of a side, publisher or consumer; tracer
// is nil where there are no traces.
func NewSteps(reg prometheus.Registerer, side string, steps []Step, tracer Tracer) *Steps {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "writeback_" + side + "_step_seconds",
		Help:    "How long the steps of requests take, by step.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 20), // 0.25 ms to 131 s
	}, []string{"step"})
	reg.MustRegister(vec)
	s := &Steps{make(map[Step]prometheus.Observer), tracer}
	for _, step := range steps {
		s.seconds[step] = vec.WithLabelValues(string(step)) // shown as 0 from the start
	}
	return s
}

// Watch returns a watch for one request, which began at that time and is not
// traced yet.
func (s *Steps) Watch(begun time.Time) *Watch { return &Watch{steps: s, Begun: begun, span: noSpan{}} }

// A Watch measures the steps of one request.
type Watch struct {
	Begun time.Time
	steps *Steps
	span  Span
}

// Trace has the request traced, from its beginning, as a part of parent, if there
// are traces. It is for requests that somebody vouches for.
func (w *Watch) Trace(name string, parent TraceParent) {
	if w.steps.tracer != nil {
		w.span = w.steps.tracer.Begin(name, parent, w.Begun)
	}
}

// Took notes that a step was taken.
func (w *Watch) Took(step Step, begun, ended time.Time) {
	w.steps.seconds[step].Observe(ended.Sub(begun).Seconds())
	w.span.Step(step, begun, ended)
}

// Step begins a step that lasts until done is called.
func (w *Watch) Step(step Step) (done func()) {
	begun := time.Now()
	return func() { w.Took(step, begun, time.Now()) }
}

// Set adds a fact to the request's span; see [Span].
func (w *Watch) Set(name, value string) { w.span.Set(name, value) }

// Parent is what others hand on so that theirs becomes a part of this trace.
func (w *Watch) Parent() TraceParent { return w.span.Parent() }

// End ends the request's span; only the first time counts.
func (w *Watch) End(at time.Time) { w.span.End(at) }

type noSpan struct{}

func (noSpan) Parent() TraceParent             { return "" }
func (noSpan) Step(Step, time.Time, time.Time) {}
func (noSpan) Set(string, string)              {}
func (noSpan) End(time.Time)                   {}
