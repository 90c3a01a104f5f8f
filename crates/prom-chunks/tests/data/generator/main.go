// Command generator builds chunks with Prometheus' own tsdb/chunkenc and writes them with what its iterators read
// from them, one JSON object a line. See README.md.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const stale = 0x7ff0000000000002

type sample struct {
	st, t int64
	bits  uint64
}

type record struct {
	Name       string          `json:"name"`
	Encoding   int             `json:"encoding"`
	Chunk      string          `json:"chunk"`
	Samples    [][3]any        `json:"samples,omitempty"` // t, value bits, start timestamp
	Histograms []histogramJSON `json:"histograms,omitempty"`
}

type histogramJSON struct {
	T             int64      `json:"t"`
	ST            int64      `json:"st"`
	Hint          int        `json:"hint"`
	Schema        int32      `json:"schema"`
	ZeroThreshold uint64     `json:"zero_threshold_bits"`
	Sum           uint64     `json:"sum_bits"`
	Count         uint64     `json:"count"` // bits of a double in float histograms, as are the three below
	ZeroCount     uint64     `json:"zero_count"`
	Positive      []uint64   `json:"positive"` // absolute counts
	Negative      []uint64   `json:"negative"`
	PositiveSpans [][2]int64 `json:"positive_spans"` // offset, length
	NegativeSpans [][2]int64 `json:"negative_spans"`
	CustomValues  []uint64   `json:"custom_value_bits"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generator OUTPUT-FOLDER")
		os.Exit(2)
	}
	write(filepath.Join(os.Args[1], "floats.jsonl"), floats())
	write(filepath.Join(os.Args[1], "histograms.jsonl"), histograms())
}

func write(path string, records []record) {
	file, err := os.Create(path)
	check(err)
	out := bufio.NewWriter(file)
	for _, r := range records {
		line, err := json.Marshal(r)
		check(err)
		out.Write(line)
		out.WriteByte('\n')
	}
	check(out.Flush())
	check(file.Close())
	fmt.Println(path, len(records), "chunks")
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func floatChunk(name string, chunk chunkenc.Chunk, samples []sample) record {
	app, err := chunk.Appender()
	check(err)
	for _, s := range samples {
		app.Append(s.st, s.t, math.Float64frombits(s.bits))
	}
	r := record{Name: name, Encoding: int(chunk.Encoding()), Chunk: hex.EncodeToString(chunk.Bytes())}
	it := chunk.Iterator(nil)
	for it.Next() != chunkenc.ValNone {
		t, v := it.At()
		r.Samples = append(r.Samples, [3]any{t, math.Float64bits(v), it.AtST()})
	}
	check(it.Err())
	if len(r.Samples) != len(samples) {
		panic(name)
	}
	return r
}

// series makes n samples from functions of the index.
func series(n int, st, t func(int) int64, v func(int) uint64) []sample {
	var out []sample
	for i := range n {
		out = append(out, sample{st(i), t(i), v(i)})
	}
	return out
}

func floats() []record {
	rng := rand.New(rand.NewSource(5))
	const start = 1_700_000_000_000
	every := func(step int64) func(int) int64 { return func(i int) int64 { return start + int64(i)*step } }
	none := func(int) int64 { return 0 }
	value := func(f func(int) float64) func(int) uint64 {
		return func(i int) uint64 { return math.Float64bits(f(i)) }
	}
	special := []uint64{
		0, 1 << 63, math.Float64bits(1), math.Float64bits(-1), stale, stale, 0x7ff8000000000001, 0xfff8dead0000beef,
		0x7ff0000000000001, 0x7ff0000000000000, 0xfff0000000000000, 1, math.MaxUint64, math.Float64bits(math.Pi),
		0x7fefffffffffffff, 0x0010000000000000, 0xffffffff00000000, 0x00000000ffffffff, 2, 3, stale,
	}
	var walk, total float64
	walks := make([]float64, 400)
	totals := make([]float64, 400)
	for i := range walks {
		walk += rng.NormFloat64()
		total += float64(rng.Intn(1000))
		if i == 137 {
			total = 0
		}
		walks[i], totals[i] = walk, total
	}
	jitter := make([]int64, 400)
	for i := range jitter {
		jitter[i] = start + int64(i)*15000 + int64(rng.Intn(7)) - 3
	}
	var boundary []int64
	t := int64(start)
	delta := int64(1 << 40)
	for _, bits := range []uint{3, 6, 9, 12, 13, 14, 17, 18, 20, 25, 56} {
		for _, dod := range []int64{1<<(bits-1) - 1, 1 << (bits - 1), 1<<(bits-1) + 1, -(1<<(bits-1) - 1), -(1 << (bits - 1)), -(1<<(bits-1) + 1)} {
			delta += dod
			t += delta
			boundary = append(boundary, t)
		}
	}
	plain := map[string][]sample{
		"empty":         {},
		"one":           series(1, none, every(1), value(func(int) float64 { return 42.5 })),
		"two":           series(2, none, every(1000), value(func(i int) float64 { return float64(i) })),
		"constant":      series(120, none, every(15000), value(func(int) float64 { return 7 })),
		"gauge-walk":    series(400, none, func(i int) int64 { return jitter[i] }, value(func(i int) float64 { return walks[i] })),
		"counter-reset": series(400, none, every(15000), value(func(i int) float64 { return totals[i] })),
		"special":       series(len(special)*3, none, every(1000), func(i int) uint64 { return special[(i*(1+i/len(special)))%len(special)] }),
		"random-bits":   series(300, none, func(i int) int64 { return jitter[i] }, func(int) uint64 { return rng.Uint64() }),
		"boundaries":    series(len(boundary), none, func(i int) int64 { return boundary[i] }, value(func(i int) float64 { return float64(i / 3) })),
		"extreme-times": series(6, none, func(i int) int64 {
			return []int64{math.MinInt64, -1, 0, math.MaxInt64, math.MinInt64, math.MaxInt64}[i]
		}, value(func(i int) float64 { return float64(i) })),
		"random-times": series(200, none, func(int) int64 { return int64(rng.Uint64()) }, func(i int) uint64 { return special[i%len(special)] }),
		"stale-first":  series(5, none, every(1000), func(i int) uint64 { return []uint64{stale, stale, 5 << 52, 5 << 52, stale}[i] }),
		"stale-jitter": series(200, none, func(i int) int64 { return jitter[i] }, func(i int) uint64 {
			if rng.Intn(4) == 0 {
				return stale
			}
			return math.Float64bits(float64(rng.Intn(4)))
		}),
	}
	var out []record
	for _, name := range sorted(plain) {
		out = append(out, floatChunk("xor/"+name, chunkenc.NewXORChunk(), plain[name]))
		out = append(out, floatChunk("xor2/"+name, chunkenc.NewXOR2Chunk(), plain[name]))
	}
	starts := map[string]func(int) int64{
		"constant":    func(int) int64 { return start - 5000 },
		"zero-then":   func(i int) int64 { return int64(min(i, 1)) * (start - 7) },
		"change-at-2": func(i int) int64 { return start - 5000 + int64(i/2)*100000 },
		"change-at-50": func(i int) int64 {
			if i < 50 {
				return start
			}
			return start + int64(i)*15000 - 60000
		},
		"change-at-127":   func(i int) int64 { return start + int64(i/127)*100000 },
		"change-at-200":   func(i int) int64 { return start + int64(i/200)*100000 },
		"never-until-200": func(i int) int64 { return int64(i/200) * (start + 9) },
		"delta":           func(i int) int64 { return jitter[max(i-1, 0)] },
		"delta-near":      func(i int) int64 { return jitter[i] - 15000 + int64(i%5) },
		"negative":        func(i int) int64 { return -int64(i / 40) },
		"random":          func(int) int64 { return int64(rng.Uint64()) },
		"mixed": func(i int) int64 {
			return []int64{0, start, jitter[i] - 1, jitter[i] - 40, jitter[i] - 300, jitter[i] - 100000, jitter[i] - 10000000}[rng.Intn(7)]
		},
	}
	for _, name := range sorted(starts) {
		for _, v := range []struct {
			name string
			f    func(int) uint64
		}{
			{"counter", value(func(i int) float64 { return totals[i] })},
			{"special", func(i int) uint64 { return special[rng.Intn(len(special))] }},
			{"constant", value(func(int) float64 { return 1 })},
		} {
			samples := series(300, starts[name], func(i int) int64 { return jitter[i] }, v.f)
			out = append(out, floatChunk("xor2/st-"+name+"-"+v.name, chunkenc.NewXOR2Chunk(), samples))
		}
	}
	return out
}

func sorted[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	for i := range names {
		for j := i + 1; j < len(names); j++ {
			if names[j] < names[i] {
				names[i], names[j] = names[j], names[i]
			}
		}
	}
	return names
}

type histogramSample struct {
	st, t int64
	h     *histogram.Histogram
}

// shape is what a generated series of histograms looks like.
type shape struct {
	schema               int32
	threshold            float64
	custom               []float64
	gauge, newBuckets    bool
	resetEvery, staleAt  int
	negative, hugeCounts bool
	samples              int
	st                   func(i int, t int64) int64
}

func (s shape) series(rng *rand.Rand) []histogramSample {
	positive := map[int]int64{}
	negative := map[int]int64{}
	low, high := -4, 6
	if s.custom != nil {
		low, high = 0, len(s.custom)
	}
	index := func() int { return low + rng.Intn(high-low+1) }
	for range 3 {
		positive[index()] = int64(rng.Intn(50))
		if s.negative {
			negative[index()] = int64(rng.Intn(50))
		}
	}
	var zero int64
	var out []histogramSample
	t := int64(1_700_000_000_000)
	for i := range s.samples {
		t += 15000 + int64(rng.Intn(5)) - 2
		if s.resetEvery > 0 && i > 0 && i%s.resetEvery == 0 {
			positive, negative, zero = map[int]int64{index(): 1}, map[int]int64{}, 0
		}
		grow := func(m map[int]int64) {
			for k := range high - low + 1 {
				k += low
				if _, ok := m[k]; !ok && !(s.newBuckets && rng.Intn(40) == 0) {
					continue
				}
				step := int64(rng.Intn(6)) * int64(rng.Intn(60))
				if s.hugeCounts {
					step = int64(rng.Uint64() >> (10 + rng.Intn(50)))
				}
				if s.gauge && rng.Intn(2) == 0 {
					step = -min(step, m[k])
				}
				m[k] += step
			}
		}
		grow(positive)
		if s.negative {
			grow(negative)
		}
		if s.custom == nil {
			zero += int64(rng.Intn(3))
		}
		h := &histogram.Histogram{Schema: s.schema, ZeroThreshold: s.threshold, ZeroCount: uint64(zero), CustomValues: s.custom}
		h.PositiveSpans, h.PositiveBuckets = buckets(positive)
		h.NegativeSpans, h.NegativeBuckets = buckets(negative)
		h.Count = uint64(zero)
		for _, c := range positive {
			h.Count += uint64(c)
		}
		for _, c := range negative {
			h.Count += uint64(c)
		}
		h.Sum = float64(h.Count)*1.25 + rng.Float64()
		switch rng.Intn(40) {
		case 0:
			h.Sum = math.Float64frombits(0x7ff8000000001234)
		case 1:
			h.Sum = math.Inf(-1)
		}
		if s.gauge {
			h.CounterResetHint = histogram.GaugeType
		}
		if s.staleAt > 0 && i%s.staleAt == s.staleAt-1 {
			h.Sum = math.Float64frombits(stale)
		}
		st := int64(0)
		if s.st != nil {
			st = s.st(i, t)
		}
		out = append(out, histogramSample{st, t, h})
	}
	return out
}

func buckets(counts map[int]int64) (spans []histogram.Span, deltas []int64) {
	last, lastCount := 0, int64(0)
	for k := -200; k <= 200; k++ {
		c, ok := counts[k]
		if !ok {
			continue
		}
		switch {
		case len(spans) == 0:
			spans = append(spans, histogram.Span{Offset: int32(k), Length: 1})
		case k == last+1:
			spans[len(spans)-1].Length++
		default:
			spans = append(spans, histogram.Span{Offset: int32(k - last - 1), Length: 1})
		}
		deltas = append(deltas, c-lastCount)
		last, lastCount = k, c
	}
	return spans, deltas
}

func histograms() []record {
	rng := rand.New(rand.NewSource(6))
	bounds := []float64{-3.5, 0, 0.001, 0.005, 0.1, 0.25, 1. / 3, 1, 2.5, 33554.43, 33554.431, 1e9, math.MaxFloat64}
	lag := func(_ int, t int64) int64 { return t - 14000 }
	fixed := func(int, int64) int64 { return 1_699_999_000_000 }
	late := func(i int, _ int64) int64 { return int64(i/30) * 1_700_000_000_000 }
	shapes := map[string]shape{
		"plain":          {schema: 0, samples: 60},
		"schema-8":       {schema: 8, threshold: 0x1p-128, samples: 40, negative: true},
		"schema-m4":      {schema: -4, threshold: 0.001, samples: 40},
		"schema-12":      {schema: 12, threshold: 0.001, samples: 20, negative: true},
		"new-buckets":    {schema: 3, threshold: 1, newBuckets: true, negative: true, samples: 150},
		"resets":         {schema: 1, threshold: 2048, resetEvery: 17, newBuckets: true, samples: 90},
		"threshold-2p12": {schema: 1, threshold: 4096, samples: 3},
		"gauge":          {schema: 2, gauge: true, newBuckets: true, negative: true, samples: 90},
		"stale":          {schema: 2, staleAt: 5, samples: 22, negative: true},
		"stale-first":    {schema: 2, staleAt: 1, samples: 4},
		"huge":           {schema: 5, hugeCounts: true, samples: 40, negative: true},
		"custom":         {schema: -53, custom: bounds, samples: 60, newBuckets: true},
		"custom-reset":   {schema: -53, custom: bounds[1:6], samples: 60, resetEvery: 11},
		"custom-gauge":   {schema: -53, custom: bounds, samples: 60, newBuckets: true, gauge: true, staleAt: 23},
		"one":            {schema: 0, samples: 1, negative: true},
		"st-lag":         {schema: 0, samples: 60, st: lag, newBuckets: true},
		"st-fixed":       {schema: 0, samples: 60, st: fixed, staleAt: 20},
		"st-late":        {schema: 3, samples: 200, st: late, negative: true},
		"st-change":      {schema: 3, samples: 160, st: func(i int, t int64) int64 { return t - int64(i%3)*400 }},
		"st-at-127":      {schema: 3, samples: 200, st: func(i int, _ int64) int64 { return int64(i/127) * 1_700_000_000_000 }},
	}
	var out []record
	for _, name := range sorted(shapes) {
		samples := shapes[name].series(rng)
		for _, st := range []bool{false, true} {
			if shapes[name].st != nil && !st {
				continue
			}
			integer, err := chunkenc.ValHistogram.NewChunk(true, st)
			check(err)
			out = append(out, histogramChunks(name, integer, samples, false)...)
			float, err := chunkenc.ValFloatHistogram.NewChunk(true, st)
			check(err)
			out = append(out, histogramChunks(name, float, samples, true)...)
		}
	}
	return out
}

func histogramChunks(name string, chunk chunkenc.Chunk, samples []histogramSample, float bool) []record {
	chunks := []chunkenc.Chunk{chunk}
	app, err := chunk.Appender()
	check(err)
	for _, s := range samples {
		var next chunkenc.Chunk
		var recoded bool
		if float {
			fh := s.h.Copy().ToFloat(nil)
			if fh.Schema != -53 && !isStale(fh.Sum) {
				// Counts that are no whole numbers.
				fh.Count += 0.5
				fh.ZeroCount += 0.5
			}
			next, recoded, app, err = app.AppendFloatHistogram(nil, s.st, s.t, fh, false)
		} else {
			next, recoded, app, err = app.AppendHistogram(nil, s.st, s.t, s.h.Copy(), false)
		}
		check(err)
		if next != nil && recoded {
			chunks[len(chunks)-1] = next
		} else if next != nil {
			chunks = append(chunks, next)
		}
	}
	var out []record
	total := 0
	for i, c := range chunks {
		r := record{
			Name:     fmt.Sprintf("%s/%s/%d", c.Encoding(), name, i),
			Encoding: int(c.Encoding()),
			Chunk:    hex.EncodeToString(c.Bytes()),
		}
		it := c.Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			total++
			if float {
				t, fh := it.AtFloatHistogram(nil)
				r.Histograms = append(r.Histograms, fromFloat(t, it.AtST(), fh))
			} else {
				t, h := it.AtHistogram(nil)
				r.Histograms = append(r.Histograms, fromInteger(t, it.AtST(), h))
			}
		}
		check(it.Err())
		out = append(out, r)
	}
	if total != len(samples) {
		panic(name)
	}
	return out
}

func isStale(f float64) bool { return math.Float64bits(f) == stale }

func fromInteger(t, st int64, h *histogram.Histogram) histogramJSON {
	absolute := func(deltas []int64) []uint64 {
		out := []uint64{}
		var count int64
		for _, d := range deltas {
			count += d
			out = append(out, uint64(count))
		}
		return out
	}
	return histogramJSON{
		T: t, ST: st, Hint: int(h.CounterResetHint), Schema: h.Schema, ZeroThreshold: math.Float64bits(h.ZeroThreshold),
		Sum: math.Float64bits(h.Sum), Count: h.Count, ZeroCount: h.ZeroCount,
		Positive: absolute(h.PositiveBuckets), Negative: absolute(h.NegativeBuckets),
		PositiveSpans: spans(h.PositiveSpans), NegativeSpans: spans(h.NegativeSpans), CustomValues: bits(h.CustomValues),
	}
}

func fromFloat(t, st int64, h *histogram.FloatHistogram) histogramJSON {
	return histogramJSON{
		T: t, ST: st, Hint: int(h.CounterResetHint), Schema: h.Schema, ZeroThreshold: math.Float64bits(h.ZeroThreshold),
		Sum: math.Float64bits(h.Sum), Count: math.Float64bits(h.Count), ZeroCount: math.Float64bits(h.ZeroCount),
		Positive: bits(h.PositiveBuckets), Negative: bits(h.NegativeBuckets),
		PositiveSpans: spans(h.PositiveSpans), NegativeSpans: spans(h.NegativeSpans), CustomValues: bits(h.CustomValues),
	}
}

func spans(spans []histogram.Span) [][2]int64 {
	out := [][2]int64{}
	for _, s := range spans {
		out = append(out, [2]int64{int64(s.Offset), int64(s.Length)})
	}
	return out
}

func bits(values []float64) []uint64 {
	out := []uint64{}
	for _, v := range values {
		out = append(out, math.Float64bits(v))
	}
	return out
}
