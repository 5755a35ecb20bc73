package trail

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A Printer writes entries. It keeps none of them.
type Printer interface{ Print(Entry) error }

// Formats are the names of all printers.
func Formats() []string { return []string{"table", "json", "timeline"} }

// NewPrinter returns the printer of a format; nil is that there is none.
func NewPrinter(format string, out io.Writer) Printer {
	switch format {
	case "table":
		return &table{out: out}
	case "json":
		return jsonLines{json.NewEncoder(out)}
	case "timeline":
		return &timeline{out: out}
	}
	return nil
}

type jsonLines struct{ enc *json.Encoder }

func (p jsonLines) Print(e Entry) error { return p.enc.Encode(e) }

// clear returns s fit for a terminal: what cannot be seen, or would steer it, is
// escaped. Names come from callers.
func clear(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.QuoteToGraphic(s)
	return quoted[1 : len(quoted)-1]
}

const stamp = "2006-01-02 15:04:05.000"

func (e Entry) account() string {
	if e.Hidden {
		return "(hidden)"
	}
	return e.Account
}

func (e Entry) actor() string {
	if e.Actor == "" {
		return e.ActorKind
	}
	return e.ActorKind + ":" + e.Actor
}

// notes are what has no column.
func (e Entry) notes() string {
	var notes []string
	if !e.Signed {
		notes = append(notes, "NOT SIGNED BY A PINNED KEY")
	}
	if e.Doubt {
		notes = append(notes, "doubt")
	}
	if e.Asked {
		notes = append(notes, "asked")
	}
	for _, f := range e.Facts {
		notes = append(notes, f.Name+"="+f.Value)
	}
	return strings.Join(notes, " ")
}

type table struct {
	out    io.Writer
	headed bool
}

const row = "%-23s  %-7s %9s  %-16s %-6s  %-22s  %-28s  %-24s  %-12s  %-15s  %-20s  %-41s  %s\n"

func (p *table) Print(e Entry) error {
	if !p.headed {
		p.headed = true
		_, err := fmt.Fprintf(p.out, row, "TIME (UTC)", "STREAM", "SEQ", "WHAT", "OP", "CODE", "ACCOUNT", "ACTOR", "SOURCE", "ADDRESS", "BY", "REQUEST", "")
		if err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.out, row, e.At().UTC().Format(stamp), strings.ToLower(e.Stream), strconv.FormatUint(e.Seq, 10), e.Kind, e.Operation, e.Code,
		clear(e.account()), clear(e.actor()), clear(e.Source), clear(e.Address), e.Writer, e.Request, clear(e.notes()))
	return err
}

// A timeline is what happened to a request, step by step.
type timeline struct {
	out   io.Writer
	first time.Time
}

func (p *timeline) Print(e Entry) error {
	if p.first.IsZero() {
		p.first = e.At().UTC()
		_, err := fmt.Fprintf(p.out, "%s UTC  %s of %s, asked for by %s through %s from %s\n\n", p.first.Format(stamp), e.Operation,
			clear(e.account()), clear(e.actor()), clear(e.Source), clear(e.Address))
		if err != nil {
			return err
		}
	}
	what := strings.TrimSpace(e.Kind + " " + e.Code)
	by := strings.TrimSpace(e.Side + " " + e.Writer)
	if e.DC != "" {
		by += " on " + clear(e.DC)
	}
	_, err := fmt.Fprintf(p.out, "%+10.3fs  %-7s %9d  %-32s %-40s %s\n", e.At().Sub(p.first).Seconds(), strings.ToLower(e.Stream), e.Seq, what, by, clear(e.notes()))
	return err
}
