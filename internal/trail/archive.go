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

// Append appends a message to b as a line of an archive.
func Append(b []byte, m Message) ([]byte, error) {
	line, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return append(append(b, line...), '\n'), nil
}

// An Archive is a file with a message a line, as [Append] makes it: all that is
// needed to verify them. Files that belong together are read one after the other.
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
			case !begun, r.After.Covers(m), m.Time.Before(r.From), !r.To.IsZero() && !m.Time.Before(r.To):
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
		var m Message
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&m); err != nil || m.Seq == 0 || m.Stream != Records && m.Stream != Events {
			return fmt.Errorf("%s: line %d is not a message of an archive", file, n)
		}
		if err := f(m); err != nil {
			return err
		}
	}
}
