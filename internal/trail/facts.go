package trail

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// details returns what an outcome says beyond its code.
func details(d reset.Details) []Fact {
	var list []Fact
	add := func(name, value string) {
		if value != "" {
			list = append(list, Fact{name, value})
		}
	}
	add("field", d.Field)
	add("reason", d.Reason)
	add("result", d.Result)
	add("right", d.Right)
	if d.MinLength != 0 {
		add("min_length", strconv.Itoa(int(d.MinLength)))
	}
	if !d.Earliest.IsZero() {
		add("earliest", d.Earliest.Format(time.RFC3339))
	}
	add("categories", strings.Join(d.Categories, " "))
	add("candidates", strings.Join(d.Candidates, " "))
	for _, f := range d.FollowUps {
		add("follow_up", strings.TrimSpace(f.What+" "+f.Right))
	}
	return list
}

// facts returns what an event tells in clear.
func facts(f envelope.Fact) []Fact {
	at := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.Format(time.RFC3339)
	}
	id := func(b [16]byte) string { return hex.EncodeToString(b[:]) }
	switch f := f.(type) {
	case envelope.Started:
		return []Fact{{"version", f.Version}}
	case envelope.Checkpoint:
		missing := uint64(0)
		for _, g := range f.Gaps {
			missing += uint64(g.Count)
		}
		list := []Fact{{"numbers", fmt.Sprintf("%d-%d", f.From, f.To)}, {"not_stored", strconv.FormatUint(missing, 10)}}
		if f.Lost > 0 {
			list = append(list, Fact{"lost", strconv.FormatUint(f.Lost, 10)})
		}
		return append(list, Fact{"final", strconv.FormatBool(f.Final)})
	case envelope.SealingKey:
		return []Fact{{"box", id(f.Box)}, {"made", at(f.Made)}}
	case envelope.ReplicaSeen:
		return []Fact{{"replica", f.Replica}, {"run", id(f.Run)}, {"key", id(f.Key)}, {"how", f.How.String()}}
	case envelope.TokenMade:
		return []Fact{{"token", f.Token}, {"certificate", strconv.FormatBool(f.Certificate)}, {"operations", strings.Join(f.Operations, " ")},
			{"actors", strings.Join(f.Actors, " ")}, {"made", at(f.Made)}, {"not_after", at(f.NotAfter)}}
	case envelope.TokenRevoked:
		return []Fact{{"token", f.Token}, {"certificate", strconv.FormatBool(f.Certificate)}}
	case envelope.SwitchChanged:
		return []Fact{{"switch", f.Switch}, {"on", strconv.FormatBool(f.On)}, {"change", strconv.FormatUint(f.Number, 10)}}
	case envelope.NameRevealed:
		return []Fact{{"request", f.Request.String()}}
	case envelope.TicketMade:
		return []Fact{{"ticket", id(f.Ticket)}, {"operation", f.Operation.String()}, {"not_after", at(f.NotAfter)}}
	case envelope.TicketUsed:
		return []Fact{{"ticket", id(f.Ticket)}, {"request", f.Request.String()}}
	}
	return nil
}
