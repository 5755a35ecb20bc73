package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"writeback/internal/lab"
)

// Resources of a process, as tables name them.
const (
	memory      = "memory MiB" // that is its own (RssAnon): pages of its file can be dropped at any time
	resident    = "resident MiB"
	goroutines  = "goroutines"
	descriptors = "descriptors"
	connections = "connections" // established, of TCP
	processor   = "CPU s"
)

// measure returns what a process has of each resource. Only root may see all of it,
// since our programs hide their memory. The broker says nothing of goroutines.
func measure(ctx context.Context, p lab.Process) (map[string]float64, error) {
	now := make(map[string]float64)
	dir := filepath.Join("/proc", strconv.Itoa(p.PID))
	status, err := fields(filepath.Join(dir, "status"))
	if err != nil {
		return nil, err
	}
	now[memory], now[resident] = status["RssAnon"]/1024, status["VmRSS"]/1024
	if now[processor], err = cpu(dir); err != nil {
		return nil, err
	}
	if now[descriptors], now[connections], err = open(dir); err != nil {
		return nil, err
	}
	if p.Operations != "" {
		now[goroutines], err = metric(ctx, p.Operations+"/metrics", "go_goroutines")
	}
	return now, err
}

// fields reads lines of the form "Name: number unit".
func fields(path string) (map[string]float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if words := strings.Fields(rest); len(words) > 0 {
			values[name], _ = strconv.ParseFloat(words[0], 64) // what is no number is not asked for
		}
	}
	return values, nil
}

// ticksPerSecond is the unit of times in /proc, the same on all of Linux.
const ticksPerSecond = 100

// cpu returns the seconds that a process has worked, by proc(5).
func cpu(dir string) (float64, error) {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, err
	}
	// The second field is the name in brackets, which may hold spaces.
	words := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(words) < 13 {
		return 0, fmt.Errorf("%s/stat has %d fields", dir, len(words))
	}
	user, err := strconv.Atoi(words[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(words[12])
	return float64(user+system) / ticksPerSecond, err
}

// open counts the open files of a process, and the established TCP connections
// among them.
func open(dir string) (files, established float64, err error) {
	list, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return 0, 0, err
	}
	alive := make(map[string]bool) // by what /proc calls a socket
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(filepath.Join(dir, "net", name))
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); len(words) > 9 && words[3] == "01" {
				alive["socket:["+words[9]+"]"] = true
			}
		}
	}
	for _, f := range list {
		// One that was closed meanwhile has no target.
		if target, err := os.Readlink(filepath.Join(dir, "fd", f.Name())); err == nil {
			files++
			if alive[target] {
				established++
			}
		}
	}
	return files, established, nil
}

// metric reads one metric without labels.
func metric(ctx context.Context, url, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	value, found := 0.0, false
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() { // to the end, so that the connection is kept
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			value, err = strconv.ParseFloat(text, 64)
			found = true
		}
	}
	if err == nil && !found {
		err = fmt.Errorf("%s has no %s", url, name)
	}
	return value, err
}
