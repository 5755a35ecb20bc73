package main

import (
	"testing"

	"writeback/internal/docs/reference"
)

func TestReference(t *testing.T) {
	reference.Check(t, reference.Section{Heading: "consumer.yaml", Defaults: defaults()})
}
