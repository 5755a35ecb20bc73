package cli

import "golang.org/x/sync/errgroup"

// Parts are what a program runs side by side. One that fails stops the others:
// half a program is worse than none.
type Parts struct {
	group errgroup.Group
	fail  func()
}

// NewParts returns no parts yet. fail is called when one has failed, and makes
// the others end.
func NewParts(fail func()) *Parts { return &Parts{fail: fail} }

// Go runs a part.
func (p *Parts) Go(run func() error) {
	p.group.Go(func() error {
		err := run()
		if err != nil {
			p.fail()
		}
		return err
	})
}

// Wait waits until every part has ended and returns the error of the first that
// failed.
func (p *Parts) Wait() error { return p.group.Wait() }
