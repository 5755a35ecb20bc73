package main

import (
	"testing"

	"writeback/internal/docs/reference"
	"writeback/internal/signin"
)

func TestReference(t *testing.T) {
	reference.Check(t,
		reference.Section{Heading: "publisher.yaml", Defaults: defaults(), Elements: []any{tlsFiles{}, signin.DefaultConfig()}},
		reference.Section{Heading: "provision.yaml", Defaults: provision{storage: defaultStorage()}},
		reference.Section{Heading: "operator.yaml", Defaults: operator{storage: defaultStorage()}},
	)
}
