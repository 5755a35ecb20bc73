package cli

import (
	"context"
	"errors"
	"testing"
)

func TestPartsStopTogether(t *testing.T) {
	ctx, fail := context.WithCancel(t.Context())
	broken := errors.New("broken")
	parts := NewParts(fail)
	parts.Go(func() error { <-ctx.Done(); return nil })
	parts.Go(func() error { return broken })
	if err := parts.Wait(); err != broken {
		t.Errorf("Wait = %v, want %v", err, broken)
	}
}

func TestPartsThatEndWellStopNobody(t *testing.T) {
	parts := NewParts(func() { t.Error("the others are stopped") })
	parts.Go(func() error { return nil })
	if err := parts.Wait(); err != nil {
		t.Errorf("Wait = %v", err)
	}
}
