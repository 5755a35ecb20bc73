package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A platform is what programs are built for.
type platform struct {
	os, arch string
	programs []string // below cmd
	debian   bool     // there is a package
}

func (p platform) String() string { return p.os + "/" + p.arch }

// platforms are those of a release. No publisher runs on Windows.
func platforms() []platform {
	all := []string{"audit", "consumer", "publisher"}
	return []platform{
		{"linux", "amd64", all, true},
		{"linux", "arm64", all, true},
		{"windows", "amd64", []string{"audit", "consumer"}, false},
	}
}

// A binary is a program that was built.
type binary struct {
	name    string // without .exe
	path    string
	modules []module
	sbom    []byte
}

// build builds the programs of a platform in dir.
func build(ctx context.Context, s sources, p platform, dir string) ([]binary, error) {
	stamp := fmt.Sprintf("-s -w -X writeback/internal/obs.version=%s -X writeback/internal/obs.commit=%s", s.version, s.commit)
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", stamp, "-o", dir + string(filepath.Separator)}
	for _, name := range p.programs {
		args = append(args, "./cmd/"+name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.root
	// What is set in this environment is not a part of the sources.
	cmd.Env = append(os.Environ(), "GOOS="+p.os, "GOARCH="+p.arch, "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	var list []binary
	for _, name := range p.programs {
		b := binary{name: name, path: filepath.Join(dir, name)}
		if p.os == "windows" {
			b.path += ".exe"
		}
		info, err := buildinfo.ReadFile(b.path)
		if err != nil {
			return nil, err
		}
		if b.modules, err = modules(ctx, s.root, info); err != nil {
			return nil, err
		}
		if b.sbom, err = sbom(s, b, strings.TrimPrefix(info.GoVersion, "go"), p); err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}
