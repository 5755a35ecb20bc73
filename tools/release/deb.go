package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // the one format that is made
)

// debian makes the package of the consumer as tools/package/nfpm.yaml says.
func debian(s sources, p platform, list []binary, work, dist string) error {
	for _, b := range list {
		if b.name != "consumer" {
			continue
		}
		if err := os.WriteFile(filepath.Join(work, "consumer.cdx.json"), b.sbom, 0o644); err != nil {
			return err
		}
		licence, err := os.ReadFile(filepath.Join(s.root, "LICENSE"))
		if err != nil {
			return err
		}
		text := append([]byte("writeback is licensed as follows; what is linked into it is below.\n\n"), licence...)
		if err := os.WriteFile(filepath.Join(work, "copyright"), append(text, thirdParty([]binary{b})...), 0o644); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(filepath.Join(s.root, "tools", "package", "nfpm.yaml"))
	if err != nil {
		return err
	}
	values := map[string]string{"ARCH": p.arch, "VERSION": debianVersion(s), "ROOT": s.root, "WORK": work}
	config, err := nfpm.Parse(strings.NewReader(os.Expand(string(text), func(name string) string { return values[name] })))
	if err != nil {
		return err
	}
	info, err := config.Get("deb")
	if err != nil {
		return err
	}
	info.MTime = s.time
	nfpm.WithDefaults(info)
	packager, err := nfpm.Get("deb")
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dist, packager.ConventionalFileName(info)))
	if err != nil {
		return err
	}
	return errors.Join(packager.Package(info, f), f.Close())
}

// released is what git says of a commit that is a release, or some commits after one.
var released = regexp.MustCompile(`^v(\d+\.\d+\.\d+)(?:-(\d+)-g([0-9a-f]+))?(\+dirty)?$`)

// debianVersion orders versions as they came: what is not released yet is before
// every release, and after one what comes after it.
func debianVersion(s sources) string {
	m := released.FindStringSubmatch(s.version)
	switch {
	case m == nil:
		return fmt.Sprintf("0.0.0~%s.%s", s.time.Format("20060102150405"), strings.TrimPrefix(s.version, "v"))
	case m[2] == "":
		return m[1] + m[4]
	}
	return m[1] + "+" + m[2] + "." + m[3] + strings.Replace(m[4], "+", ".", 1)
}
