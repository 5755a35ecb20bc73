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

// Steps measures how long the steps of requests take.
type Steps struct{ seconds map[Step]prometheus.Observer }

// NewSteps returns what measures the steps of a side, publisher or consumer.
func NewSteps(reg prometheus.Registerer, side string, steps []Step) *Steps {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "writeback_" + side + "_step_seconds",
		Help:    "How long the steps of requests take, by step.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 20), // 0.25 ms to 131 s
	}, []string{"step"})
	reg.MustRegister(vec)
	s := &Steps{make(map[Step]prometheus.Observer)}
	for _, step := range steps {
		s.seconds[step] = vec.WithLabelValues(string(step)) // shown as 0 from the start
	}
	return s
}

// Took notes that a step has taken d.
func (s *Steps) Took(step Step, d time.Duration) { s.seconds[step].Observe(d.Seconds()) }
