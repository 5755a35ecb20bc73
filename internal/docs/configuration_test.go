package docs

import (
	"testing"

	"writeback/internal/docs/reference"
	"writeback/internal/queue"
	"writeback/internal/seal"
)

// What several files have.
func TestReference(t *testing.T) {
	reference.Check(t,
		reference.Section{Heading: "broker", Defaults: queue.Config{}},
		reference.Section{Heading: "pinned-keys", Defaults: seal.PinConfig{}},
	)
}
