package resetpage

import (
	"strconv"
	"strings"
	"time"

	"writeback/internal/portal/pages"
)

// seconds is a time since something began, as "0.05 s"; empty for one that is not
// known.
func seconds(c *pages.Call, d time.Duration) string {
	if d <= 0 {
		return ""
	}
	text := strconv.FormatFloat(d.Seconds(), 'f', 2, 64)
	if c.Language == pages.German {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text + " s"
}
