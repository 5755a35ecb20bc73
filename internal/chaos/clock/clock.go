// Package clock builds the programs with a wall clock that can be set wrong,
// without a hook in them: the Go tool's overlay replaces two files of the
// standard library while it compiles.
//
// What is moved is all that [time.Now] says of the wall clock. The monotonic
// clock, timers, and the times that the kernel writes, as of files, are not.
package clock

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Variable is the environment variable that a program built by [Build] reads
// once, when it starts: by how much its wall clock is ahead (negative: behind),
// as "-1m0s". It must be whole seconds; a program ends at once if it is not.
// Without it the clock is right.
const Variable = "WRITEBACK_TEST_CLOCK"

// Env is the entry of an environment that sets a clock wrong.
func Env(offset time.Duration) string { return Variable + "=" + offset.String() }

// anchor is the line of the standard library's time.Now after which the offset
// is added. It depends on the version of Go: that of 1.26 has it once, at the
// beginning of Now.
const anchor = "\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"

// addition is what the line becomes.
const addition = anchor + "\tsec += testOffset\n"

// offset is the file that is added to package time.
const offset = `package time

import "syscall"

// testOffset is in seconds.
var testOffset = func() int64 {
	text, ok := syscall.Getenv("` + Variable + `")
	if !ok {
		return 0
	}
	d, err := ParseDuration(text)
	if err != nil || d%Second != 0 {
		panic("` + Variable + `: " + text + " is not a number of whole seconds")
	}
	return int64(d / Second)
}()
`

// patch returns the text of time.go with the offset in it, or an error if this
// version of Go has another time.Now than the one that is known here.
func patch(text string) (string, error) {
	if n := strings.Count(text, anchor); n != 1 {
		return "", fmt.Errorf("time.Now of this version of Go is not the one that internal/chaos/clock knows (found %d times)", n)
	}
	return strings.Replace(text, anchor, addition, 1), nil
}

// Build builds packages, which are patterns of the module at root, into the
// directory out. The first time it compiles everything anew, which takes a
// minute or two; the Go tool keeps that.
func Build(ctx context.Context, root, out string, packages ...string) error {
	goroot, err := run(ctx, root, "env", "GOROOT")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "writeback-clock-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	original := filepath.Join(strings.TrimSpace(goroot), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return fmt.Errorf("reading the standard library: %w", err)
	}
	patched, err := patch(string(text))
	if err != nil {
		return err
	}
	replace := make(map[string]string)
	for path, text := range map[string]string{
		original: patched,
		filepath.Join(filepath.Dir(original), "test_offset.go"): offset,
	} {
		file := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		replace[path] = file
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return err
	}
	// The slash makes it a directory, also for one program.
	args := []string{"build", "-trimpath", "-overlay", overlay, "-o", out + string(filepath.Separator)}
	_, err = run(ctx, root, append(args, packages...)...)
	return err
}

// run runs the Go tool and returns what it printed.
func run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, errs.String())
	}
	return out.String(), nil
}
