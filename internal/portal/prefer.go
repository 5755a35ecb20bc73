package portal

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	defaultWait = 15 * time.Second
	maxWait     = 60 * time.Second
)

// preferWait returns how long the caller is ready to wait (RFC 7240 section
// 4.3), and what Preference-Applied says of it; empty if nothing was asked.
// The first wait of all Prefer headers counts, a malformed one is ignored, as
// section 2 has it.
func preferWait(h http.Header) (wait time.Duration, applied string) {
	for _, preference := range splitQuoted(strings.Join(h.Values("Prefer"), ","), ',') {
		preference = splitQuoted(preference, ';')[0] // without parameters
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		value = strings.TrimSpace(value)
		if strings.Trim(value, "0123456789") != "" || value == "" {
			break
		}
		wait = maxWait // also for what does not fit a number
		if n, err := strconv.Atoi(value); err == nil && n < int(maxWait/time.Second) {
			wait = time.Duration(n) * time.Second
		}
		return wait, fmt.Sprintf("wait=%d", int(wait.Seconds()))
	}
	return defaultWait, ""
}

// splitQuoted is strings.Split but for separators inside quoted strings.
func splitQuoted(s string, sep byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
