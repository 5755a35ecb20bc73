package trail

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxLine is the longest line of an archive in bytes: a message of 16 KiB in
// base64, and what is said of it.
const maxLine = 64 << 10

// A Line is a line of an archive: a message, and how far the archive has come
// with it.
type Line struct {
	Message
	Position Position `json:"position"`
}

// Encode returns the line with its end.
func (l Line) Encode() ([]byte, error) {
	text, err := json.Marshal(l)
	return append(text, '\n'), err
}

// errLine is returned for what [Line.Encode] does not make.
var errLine = errors.New("not a line of an archive")

// ParseLine decodes a line. There is one form for each message: what another
// program has written differently, or added to, is refused.
func ParseLine(text []byte) (Line, error) {
	var l Line
	if err := json.Unmarshal(text, &l); err != nil {
		return Line{}, err
	}
	again, err := l.Encode()
	if err != nil || !bytes.Equal(again, text) || l.Seq == 0 || l.Stream != Records && l.Stream != Events {
		return Line{}, errLine
	}
	return l, nil
}

// An Archive is a file with a [Line] for each message, in JSON: all that is needed
// to verify them. Files that belong together are read one after the other.
type Archive struct{ Files []string }

// errEnd ends a walk early.
var errEnd = errors.New("the end of the range")

// Walk implements [Source].
func (a Archive) Walk(ctx context.Context, r Range, f func(Message) error) error {
	begun := r.FromSeq == 0
	for _, file := range a.Files {
		err := readArchive(file, func(m Message) error {
			begun = begun || m.Stream == Records && m.Seq >= r.FromSeq
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case m.Stream == Records && r.ToSeq != 0 && m.Seq > r.ToSeq:
				return errEnd
			case !begun, r.After.Covers(m), !r.During(m.Time):
				return nil
			}
			return f(m)
		})
		if errors.Is(err, errEnd) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readArchive(file string, f func(Message) error) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	lines := bufio.NewReaderSize(in, maxLine)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s: line %d is not complete", file, n)
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%s: line %d has more than %d bytes", file, n, maxLine)
		case err != nil:
			return err
		}
		l, err := ParseLine(line)
		if err != nil {
			return fmt.Errorf("%s: line %d is not a message of an archive", file, n)
		}
		if err := f(l.Message); err != nil {
			return err
		}
	}
}
