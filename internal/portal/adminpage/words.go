package adminpage

import (
	"strconv"
	"time"

	"writeback/internal/portal/pages"
)

// took is a time that something took, as "52 ms" or "1.3 s"; "–" for none.
func took(c *pages.Call, d time.Duration) string {
	switch {
	case d <= 0:
		return "–"
	case d < time.Second:
		return strconv.FormatInt(max(d.Milliseconds(), 1), 10) + " ms"
	case d < 2*time.Minute:
		return c.Decimal(d.Seconds(), 1) + " s"
	}
	return c.Decimal(d.Minutes(), 1) + " min"
}

// age is how long something is ago, as "12 s", "5 min", "3 h" or "2 d".
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " d"
}
