package guard

import (
	"testing"

	"writeback/internal/docs/reference"
)

func TestReference(t *testing.T) {
	reference.Check(t, reference.Section{Heading: "policy.yaml", Defaults: defaults()})
}
