package export

import "writeback/internal/trail"

// A Sink takes lines.
type Sink interface {
	// At is the position to go on from.
	At() trail.Position
	Write(line []byte, e trail.Entry, at trail.Position) error
	// Sync makes sure that what was written stays, as far as that can be.
	Sync() error
	Close() error
}

// A Format says what a line is.
type Format string

const (
	ECSLines     Format = "ecs"     // an entry with the names of the Elastic Common Schema, for people and machines that ask what happened
	ArchiveLines Format = "archive" // a message as it is, for `audit verify`
)

// An Exporter writes messages to a sink, from its position on.
type Exporter struct {
	Reader trail.Reader
	Format Format
	Sink   Sink
	at     trail.Position
	begun  bool
}

// Add exports the next message.
func (x *Exporter) Add(m trail.Message) error {
	if !x.begun {
		x.at, x.begun = x.Sink.At(), true
	}
	x.at.Pass(m)
	e := trail.Entry{Stored: m.Time}
	var line []byte
	var err error
	if x.Format == ArchiveLines {
		line, err = trail.Line{Message: m, Position: x.at}.Encode()
	} else {
		e = x.Reader.Read(m)
		line, err = ECS(x.Reader.Verifier.Tenant, e, x.at)
	}
	if err != nil {
		return err
	}
	return x.Sink.Write(line, e, x.at)
}
