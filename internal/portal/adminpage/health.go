package adminpage

import (
	"slices"
	"time"

	"writeback/internal/reset"
)

// A health is what one line says of the connection: the texts admin.health.KEY.title,
// .text and .next.
type health struct {
	Key  string
	Tone string // good, warn or bad
}

// The lines that there are. The first six are the states that administrators of
// password writeback know from elsewhere: up, up but outdated, cannot be
// checked, cannot be reached, not set up properly, and perhaps our own fault.
var (
	healthUp          = health{"up", "good"}
	healthOutdated    = health{"outdated", "warn"}
	healthMalformed   = health{"malformed", "bad"}
	healthNone        = health{"none", "bad"}
	healthUnsigned    = health{"unsigned", "bad"}
	healthAway        = health{"away", "bad"}
	healthClock       = health{"clock", "bad"}
	healthNoDirectory = health{"no_directory", "bad"}
	healthOff         = health{"off", "warn"}
	healthWaiting     = health{"waiting", "warn"}
	healthKey         = health{"key", "bad"}
)

func healths() []health {
	return []health{
		healthUp, healthOutdated, healthMalformed, healthNone, healthUnsigned, healthAway, healthClock, healthNoDirectory, healthOff,
		healthWaiting, healthKey,
	}
}

// toConnect is how long a consumer that has just been started may be without a domain
// controller: it announces itself every ten seconds.
const toConnect = 15 * time.Second

// healthOf says how a tenant does, the worst first. version is this publisher's.
func healthOf(o reset.Overview, version string) (lines []health) {
	alive, directory, outdated := 0, 0, false
	for _, r := range o.Replicas {
		if !r.Alive {
			continue
		}
		alive++
		if r.DC != "" || o.Time.Sub(r.Since) < toConnect {
			directory++
		}
		outdated = outdated || r.Version != version
	}
	add := func(yes bool, h health) {
		if yes {
			lines = append(lines, h)
		}
	}
	// What keeps consumers from being heard says more than that none is.
	stuck := o.Obstacle != nil && o.Obstacle.Code == reset.BrokerUnavailable
	add(stuck && (!o.Unkeyed || o.Switches == nil || !o.QueueKnown), healthAway)
	add(o.Unkeyed, healthKey)
	add(alive == 0 && !o.Skewed && !o.Unsigned && !o.Malformed, healthNone)
	add(o.Skewed, healthClock)
	add(o.Unsigned, healthUnsigned)
	add(o.Malformed, healthMalformed)
	add(alive > 0 && directory == 0, healthNoDirectory)
	if alive > 0 { // then it is only some that have these troubles
		for i := range lines {
			if slices.Contains([]health{healthClock, healthUnsigned, healthMalformed}, lines[i]) {
				lines[i].Tone = "warn"
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b health) int { return rank(a) - rank(b) })
	add(o.Switches != nil && (!o.Switches.Writeback.On), healthOff)
	add(alive > 0 && !o.Oldest.IsZero() && o.Time.Sub(o.Oldest) > reset.Deadline/4, healthWaiting)
	add(outdated, healthOutdated)
	add(len(lines) == 0, healthUp)
	return lines
}

func rank(h health) int { return slices.Index([]string{"bad", "warn", "good"}, h.Tone) }
