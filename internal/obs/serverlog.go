package obs

import (
	"log"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

const (
	// maxServerLines is how many lines of a server's own a minute are logged:
	// whoever can connect decides how many there are.
	maxServerLines = 10
	// maxServerText is how much of one is logged, in bytes.
	maxServerText = 300
)

// A serverLog turns the lines of a [net/http.Server] into the log's. What callers
// do wrong, such as a failed TLS handshake, is at debug; what is wrong with this
// program, at warn.
type serverLog struct {
	callers, ours zerolog.Logger
}

// newServerLog returns what is to be a server's ErrorLog.
func newServerLog(l zerolog.Logger) *log.Logger {
	limited := func() zerolog.Logger {
		return l.Sample(&zerolog.BurstSampler{Burst: maxServerLines, Period: time.Minute})
	}
	return log.New(&serverLog{callers: limited(), ours: limited()}, "", 0)
}

// Write logs one line. The value and the stack of a handler that panicked are
// left out: nobody knows what is in them.
func (s *serverLog) Write(b []byte) (int, error) {
	text := strings.TrimSpace(string(b))
	if len(text) > maxServerText {
		text = text[:maxServerText]
	}
	switch {
	case strings.HasPrefix(text, "http: panic serving "):
		s.ours.Error().Msg("a handler panicked")
	case strings.HasPrefix(text, "http: TLS handshake error "):
		s.callers.Debug().Str(Cause, text).Msg("a caller was not served")
	default:
		s.ours.Warn().Str(Cause, text).Msg("the HTTP server complains")
	}
	return len(b), nil
}
