package pages

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// A Brand is what people see of their organisation.
type Brand struct {
	Organisation string `yaml:"organisation"` // its name, at most 100 characters; none if left out
	LogoFile     string `yaml:"logo_file"`    // *.svg or *.png, at most 200 kB; none if left out
	Colour       string `yaml:"colour"`       // of buttons and of the line at the top: #rrggbb
}

const (
	defaultColour   = "#1f5fae"
	maxOrganisation = 100
	maxLogo         = 200_000
)

// DefaultBrand is what holds where nothing is said.
func DefaultBrand() Brand { return Brand{Colour: defaultColour} }

// Check returns an error that names the setting which cannot be.
func (b Brand) Check() error {
	if len([]rune(b.Organisation)) > maxOrganisation || strings.ContainsFunc(b.Organisation, unicode.IsControl) {
		return fmt.Errorf("organisation: must have at most %d characters, and none that controls", maxOrganisation)
	}
	if _, err := parseColour(b.colour()); err != nil {
		return fmt.Errorf("colour: %w", err)
	}
	_, err := b.logo()
	return err
}

// logo returns the logo, nil if there is none.
func (b Brand) logo() ([]byte, error) {
	if b.LogoFile == "" {
		return nil, nil
	}
	data, err := os.ReadFile(b.LogoFile)
	if err != nil {
		return nil, fmt.Errorf("logo_file: %w", err)
	}
	if ext := path.Ext(b.LogoFile); len(data) > maxLogo || ext != ".svg" && ext != ".png" {
		return nil, fmt.Errorf("logo_file: %s: must be *.svg or *.png and have at most %d bytes", b.LogoFile, maxLogo)
	}
	return data, nil
}

func (b Brand) colour() string {
	if b.Colour == "" {
		return defaultColour
	}
	return b.Colour
}

// parseColour returns red, green and blue of "#rrggbb".
func parseColour(s string) (rgb [3]uint8, err error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "#"), 16, 24)
	if err != nil || len(s) != 7 || s[0] != '#' {
		return rgb, errors.New("must have the form #1f5fae")
	}
	return [3]uint8{uint8(n >> 16), uint8(n >> 8), uint8(n)}, nil
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(rgb [3]uint8) float64 {
	var sum float64
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(rgb[i]) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// onColour is what can be read on a colour: white or black, one of which always
// has a contrast of 4.58 at least.
func onColour(rgb [3]uint8) string {
	if l := luminance(rgb); 1.05/(l+0.05) >= (l+0.05)/0.05 {
		return "#ffffff"
	}
	return "#000000"
}

// brand makes a style sheet of the colour, and takes in the logo.
func (f *Frame) brand() error {
	b := f.cfg.Brand
	rgb, err := parseColour(b.colour())
	if err != nil {
		return err
	}
	sheet := fmt.Sprintf(":root { --brand: %s; --on-brand: %s; }\n", b.colour(), onColour(rgb))
	if err := f.addAsset(brandPath+"brand.css", []byte(sheet)); err != nil {
		return err
	}
	data, err := b.logo()
	if err != nil || data == nil {
		return err
	}
	return f.addAsset(brandPath+"logo"+path.Ext(b.LogoFile), data)
}

// Organisation returns the name, empty if there is none.
func (c *Call) Organisation() string { return c.f.cfg.Brand.Organisation }

// Logo returns the address of the logo, empty if there is none.
func (c *Call) Logo() string {
	for _, name := range []string{"logo.svg", "logo.png"} {
		if address, err := c.f.url(name); err == nil {
			return address
		}
	}
	return ""
}
