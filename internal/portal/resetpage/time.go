package resetpage

import (
	"time"

	"writeback/internal/portal/pages"
)

// seconds is a time since something began, as "0.045 s" or "1.2 s"; empty for one
// that is not known.
func seconds(c *pages.Call, d time.Duration) string {
	if d <= 0 {
		return ""
	}
	digits := 3
	if d >= time.Second {
		digits = 1
	}
	return c.Decimal(max(d, time.Millisecond).Seconds(), digits) + " s"
}
