package console_test

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"slices"
	"testing"
)

// picture writes a picture in each theme, NAME-light.png and NAME-dark.png, as high as the page
// within reason.
func (p *tab) picture(name string) {
	p.t.Helper()
	p.size(1280, 720)
	p.size(1280, min(max(evaluate[int64](p, "document.documentElement.scrollHeight"), 720), 1180))
	for _, theme := range []string{"light", "dark"} {
		p.media(theme, true)
		picture, err := p.capture()
		if err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(name+"-"+theme+".png", reduce(p.t, picture), 0o644); err != nil { //nolint:gosec // for all to see
			p.t.Fatal(err)
		}
	}
	p.size(1440, 900)
	p.media("light", false)
}

// reduce is a PNG in its 256 commonest colours, which is a third of the size: a page has few, and
// the many shades at the edges of its letters are near to each other.
func reduce(t *testing.T, picture []byte) []byte {
	t.Helper()
	whole, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	bounds := whole.Bounds()
	counts := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(whole.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	common := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(counts[b]-counts[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	palette := make(color.Palette, 0, 256)
	for _, c := range common[:min(len(common), 256)] {
		palette = append(palette, c)
	}
	nearest := make(map[color.RGBA]uint8, len(counts))
	for c := range counts {
		nearest[c] = uint8(palette.Index(c))
	}
	small := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			small.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, small); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
