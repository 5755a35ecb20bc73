package obs

import (
	"fmt"
	"os"
	"sync"
)

// maxLogFile is how many bytes a file of the log may have before a new one is
// begun: about 40,000 lines.
const maxLogFile = 10 << 20

// A LogFile is a log on disk, for services that nobody reads the error stream of.
// The file before it is kept beside it, with .1 behind its name.
type LogFile struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// OpenLogFile opens the log at path, whose folder must be there, and goes on at
// its end.
func OpenLogFile(path string) (*LogFile, error) {
	l := &LogFile{path: path, max: maxLogFile}
	return l, l.open()
}

func (l *LogFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write writes one line, or several. Where no new file can be begun, the old one
// grows.
func (l *LogFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > l.max {
		l.file.Close() // nothing is buffered, and Windows renames no open file
		os.Rename(l.path, l.path+".1")
		if err := l.open(); err != nil {
			return 0, fmt.Errorf("opening the log again: %w", err)
		}
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return n, err
}

// Close closes the file.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
