package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// sbom lists what is linked into a program, as the program itself says.
func sbom(s sources, b binary, goVersion string, p platform) ([]byte, error) {
	bom := cdx.NewBOM()
	self := component(cdx.ComponentTypeApplication, "writeback/cmd/"+b.name, s.version, []string{"Apache-2.0"})
	self.Properties = &[]cdx.Property{
		{Name: "commit", Value: s.commit}, {Name: "go", Value: goVersion}, {Name: "platform", Value: p.String()},
	}
	bom.Metadata = &cdx.Metadata{Timestamp: s.time.Format(time.RFC3339), Component: &self}
	var list []cdx.Component
	var refs []string
	for _, m := range b.modules {
		c := component(cdx.ComponentTypeLibrary, m.path, m.version, m.licences)
		if sum, ok := strings.CutPrefix(m.sum, "h1:"); ok {
			raw, err := base64.StdEncoding.DecodeString(sum)
			if err != nil {
				return nil, fmt.Errorf("%s: sum: %w", m.path, err)
			}
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}}
		}
		list, refs = append(list, c), append(refs, c.BOMRef)
	}
	bom.Components = &list
	bom.Dependencies = &[]cdx.Dependency{{Ref: self.BOMRef, Dependencies: &refs}}
	var out bytes.Buffer
	err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	return out.Bytes(), err
}

// component names a module; its package URL is its name too.
func component(kind cdx.ComponentType, path, version string, licences []string) cdx.Component {
	purl := "pkg:golang/" + path + "@" + version
	var choices cdx.Licenses
	for _, id := range licences {
		choices = append(choices, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	return cdx.Component{BOMRef: purl, Type: kind, Name: path, Version: version, PackageURL: purl, Licenses: &choices}
}
