// Package export hands a trail to other systems: as a file of JSON lines, for
// whoever collects files, and as syslog over TLS. A line says how far the trail
// has come with it, so that an export that was interrupted, however hard, goes on
// with the next one.
package export

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"writeback/internal/trail"
)

// A File is a file of lines that grows. When it is large enough, or a day is over,
// it gets a name that ends in the sequences of its last line, and another one
// takes its place.
type File struct {
	path    string
	format  Format
	maxSize int64
	lock    *os.File
	file    *os.File
	out     *bufio.Writer
	size    int64
	day     time.Time // of its lines, by the broker's clock in UTC
	at      trail.Position
}

// maxLine is more than any line has.
const maxLine = 128 << 10

// OpenFile opens the file at path, or makes it, to append what comes after its
// last line. A last line that is not complete is taken away. All must be of one
// format, and nobody else may write it at the same time. A file is given away when
// it has maxSize bytes.
func OpenFile(path string, format Format, maxSize int64) (*File, error) {
	f := &File{path: path, format: format, maxSize: maxSize}
	var err error
	if f.lock, err = os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := lock(f.lock); err != nil {
		f.lock.Close()
		return nil, fmt.Errorf("%s: another export writes it", path)
	}
	if err := f.open(); err != nil {
		f.lock.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// At is the position of the last line.
func (f *File) At() trail.Position { return f.at }

// open opens the current file and finds out how far it, or the last one before
// it, has come.
func (f *File) open() error {
	var err error
	if f.file, err = os.OpenFile(f.path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	line, end, err := lastLine(f.file)
	if err != nil {
		return err
	}
	if len(line) > 0 {
		if err := f.resume(line); err != nil {
			return err
		}
	}
	if err := f.file.Truncate(end); err != nil {
		return err
	}
	if _, err := f.file.Seek(end, io.SeekStart); err != nil {
		return err
	}
	f.out, f.size = bufio.NewWriterSize(f.file, 256<<10), end
	if len(line) > 0 {
		return nil
	}
	before, err := f.before()
	if err != nil || before == "" {
		return err
	}
	old, err := os.Open(before)
	if err != nil {
		return err
	}
	defer old.Close()
	if line, _, err = lastLine(old); err != nil {
		return err
	}
	err = f.resume(line)
	f.day = time.Time{} // of a file that has no line yet
	return err
}

// before returns the file that was given away last; empty is none.
func (f *File) before() (string, error) {
	entries, err := os.ReadDir(filepath.Dir(f.path)) // sorted
	if err != nil {
		return "", err
	}
	ext := filepath.Ext(f.path)
	given := regexp.MustCompile("^" + regexp.QuoteMeta(strings.TrimSuffix(filepath.Base(f.path), ext)) + `-\d{12}-\d{12}` + regexp.QuoteMeta(ext) + "$")
	for _, e := range slices.Backward(entries) {
		if given.MatchString(e.Name()) {
			return filepath.Join(filepath.Dir(f.path), e.Name()), nil
		}
	}
	return "", nil
}

// resume reads how far a line has come.
func (f *File) resume(line []byte) error {
	if f.format == ArchiveLines {
		l, err := trail.ParseLine(append(line, '\n'))
		if err != nil {
			return fmt.Errorf("its last line is not of an archive: %w", err)
		}
		f.at, f.day = l.Position, day(l.Time)
		return nil
	}
	var exported struct {
		Event     struct{ Created time.Time }
		Writeback struct{ Position trail.Position }
	}
	if err := json.Unmarshal(line, &exported); err != nil {
		return fmt.Errorf("its last line cannot be read: %w", err)
	}
	f.at, f.day = exported.Writeback.Position, day(exported.Event.Created)
	if f.at == (trail.Position{}) {
		return errors.New("its last line was not written by an export of this format")
	}
	return nil
}

func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// lastLine returns the last complete line of a file, and where it ends.
func lastLine(f *os.File) (line []byte, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	from := max(0, info.Size()-2*maxLine)
	tail := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	n := bytes.LastIndexByte(tail, '\n')
	if n < 0 {
		if from > 0 {
			return nil, 0, errors.New("has no lines")
		}
		if len(tail) > 0 && !bytes.HasPrefix(tail, []byte(`{"`)) {
			return nil, 0, errors.New("was not written by an export")
		}
		return nil, 0, nil
	}
	return tail[bytes.LastIndexByte(tail[:n], '\n')+1 : n], from + int64(n) + 1, nil
}

// Write appends a line, which must have at as its position. It is not on the disk
// before [File.Sync].
func (f *File) Write(line []byte, e trail.Entry, at trail.Position) error {
	if f.size > 0 && (f.size+int64(len(line)) > f.maxSize || day(e.Stored).After(f.day)) {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	n, err := f.out.Write(line)
	f.size += int64(n)
	f.at, f.day = at, day(e.Stored)
	return err
}

// rotate gives the file away and begins another one.
func (f *File) rotate() error {
	if err := errors.Join(f.Sync(), f.file.Close()); err != nil {
		return err
	}
	ext := filepath.Ext(f.path)
	name := fmt.Sprintf("%s-%012d-%012d%s", strings.TrimSuffix(f.path, ext), f.at.Records, f.at.Events, ext)
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: is there already", name)
	}
	if err := os.Rename(f.path, name); err != nil {
		return err
	}
	var err error
	if f.file, err = os.OpenFile(f.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		return err
	}
	f.out.Reset(f.file)
	f.size = 0
	return nil
}

// Sync makes sure that every line is on the disk.
func (f *File) Sync() error { return errors.Join(f.out.Flush(), f.file.Sync()) }

// Close ends the export.
func (f *File) Close() error { return errors.Join(f.Sync(), f.file.Close(), f.lock.Close()) }
