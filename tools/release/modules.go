package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// A module is a library that is linked into a program.
type module struct {
	path, version, sum string
	licences           []string // SPDX identifiers
	text               string   // of the licences
}

// modules returns what info says is linked, sorted by path, and Go's own library
// first.
func modules(ctx context.Context, root string, info *debug.BuildInfo) ([]module, error) {
	args := []string{"list", "-m", "-json=Path,Dir", info.Main.Path}
	for _, m := range info.Deps {
		args = append(args, m.Path)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	dirs := make(map[string]string)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var m struct{ Path, Dir string }
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		dirs[m.Path] = m.Dir
	}
	cmd = exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = root
	goroot, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	dirs["std"] = strings.TrimSpace(string(goroot))
	list := []module{{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			return nil, fmt.Errorf("%s is replaced: what it is cannot be told", m.Path)
		}
		list = append(list, module{path: m.Path, version: m.Version, sum: m.Sum})
	}
	for i, m := range list {
		if list[i].text, err = licence(dirs[m.path]); err != nil {
			return nil, fmt.Errorf("%s: %w", m.path, err)
		}
		if list[i].licences = identify(list[i].text); len(list[i].licences) == 0 {
			return nil, fmt.Errorf("%s: its licence is not known", m.path)
		}
	}
	return list, nil
}

// licence returns the texts that whoever hands a module on has to hand on with it.
func licence(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, e := range entries {
		name, _, _ := strings.Cut(strings.ToUpper(e.Name()), ".")
		switch name {
		case "LICENSE", "LICENCE", "COPYING", "NOTICE":
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return "", err
			}
			text.Write(bytes.TrimSpace(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))))
			text.WriteString("\n\n")
		}
	}
	return text.String(), nil
}

// identify names the licences that a text holds, by phrases that each has and no
// other.
func identify(text string) (ids []string) {
	text = strings.Join(strings.Fields(text), " ")
	has := func(phrase string) bool { return strings.Contains(text, phrase) }
	if has("Apache License Version 2.0") {
		ids = append(ids, "Apache-2.0")
	}
	switch {
	case has("Redistribution and use in source and binary forms") && has("Neither the name"):
		ids = append(ids, "BSD-3-Clause")
	case has("Redistribution and use in source and binary forms"):
		ids = append(ids, "BSD-2-Clause")
	}
	if has("Permission is hereby granted, free of charge") {
		ids = append(ids, "MIT")
	}
	return ids
}

// thirdParty is the text of everybody's licence, of all programs together.
func thirdParty(list []binary) []byte {
	var text bytes.Buffer
	text.WriteString("What is linked into these programs, and under which licence.\n")
	seen := make(map[string]bool)
	for _, b := range list {
		for _, m := range b.modules {
			if !seen[m.path] {
				seen[m.path] = true
				line := strings.Repeat("=", 78)
				fmt.Fprintf(&text, "\n%s\n%s %s\n%s\n\n%s", line, m.path, m.version, line, m.text)
			}
		}
	}
	return text.Bytes()
}
