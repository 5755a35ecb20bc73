package chaos

import (
	"io"
	"path/filepath"
	"sync"
	"testing"

	"writeback/internal/testkit"
)

// Every place at which a program can be killed, but for those whose requests end
// at their deadline or later: the campaign has them. Most of the time they wait,
// so that they do it together.
func TestPoints(t *testing.T) {
	t.Parallel()
	room := make(chan struct{}, together)
	var all sync.WaitGroup
	for _, p := range Points() {
		if p.Slow {
			continue
		}
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			t.Run(p.Name, func(t *testing.T) {
				err := p.Run(t.Context(), Options{
					Root: testkit.Root(t), Dir: filepath.Join(t.TempDir(), "system"), Nodes: 1, Directory: "fake", Out: io.Discard,
				})
				if err != nil {
					t.Error(err)
				}
			})
		})
	}
	all.Wait()
}
