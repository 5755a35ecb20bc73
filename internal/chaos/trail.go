package chaos

import (
	"context"
	"fmt"
	"io"

	"writeback/internal/chaos/history"
	"writeback/internal/inspect"
	"writeback/internal/trail"
)

// Inspect reads the whole trail, prints what `audit verify` would, and returns
// its faults: nobody has touched the streams, so that there must be none.
func (s *System) Inspect(ctx context.Context, out io.Writer) ([]history.Violation, error) {
	inspector, err := inspect.New(s.Reader.Verify, nil)
	if err != nil {
		return nil, err
	}
	live := trail.Live{Records: s.Admin.Log(trail.Records), Events: s.Admin.Log(trail.Events)}
	err = live.Walk(ctx, trail.Range{}, func(m trail.Message) error {
		inspector.Add(m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the trail: %w", err)
	}
	report := inspector.End()
	var found []history.Violation
	for _, f := range report.FirstFaults {
		found = append(found, history.Violation{Rule: history.Broken, Request: f.Request, What: f.String()})
	}
	return found, report.Print(out)
}
