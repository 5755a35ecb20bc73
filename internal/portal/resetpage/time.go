package resetpage

import (
	"strconv"
	"strings"
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
	text := strconv.FormatFloat(max(d, time.Millisecond).Seconds(), 'f', digits, 64)
	if c.Language == pages.German {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text + " s"
}
