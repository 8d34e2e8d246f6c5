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

// reduce is a PNG in 256 of its colours at most, which is a third of the size: the commonest of those
// that are not near to each other, as the many shades at the edges of its letters are.
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
	for _, c := range common {
		if len(palette) < cap(palette) && (len(palette) == 0 || !near(c, palette[palette.Index(c)])) {
			palette = append(palette, c)
		}
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

// near tells whether one colour will do for another.
func near(a color.RGBA, b color.Color) bool {
	const unseen = 6 // of 255, in each channel
	other, ok := b.(color.RGBA)
	off := func(x, y uint8) bool { return max(x, y)-min(x, y) > unseen }
	return ok && !off(a.R, other.R) && !off(a.G, other.G) && !off(a.B, other.B)
}
