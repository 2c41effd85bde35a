package identity

import (
	"encoding/binary"
	"errors"
	"math"
)

// A token's payload is MessagePack. Only what payloads use is here: nil, booleans, integers, floats, text, bytes and lists.

var errMsgpack = errors.New("not a token payload")

func packAny(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 0xc0)
	case bool:
		if v {
			return append(b, 0xc3)
		}
		return append(b, 0xc2)
	case int:
		return packInt(b, int64(v))
	case int64:
		return packInt(b, v)
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(v))
	case string:
		switch n := len(v); {
		case n < 32:
			b = append(b, 0xa0|byte(n))
		case n < 256:
			b = append(b, 0xd9, byte(n))
		default:
			b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
		}
		return append(b, v...)
	case []byte:
		b = append(b, 0xc4, byte(len(v)))
		return append(b, v...)
	case []any:
		if len(v) < 16 {
			b = append(b, 0x90|byte(len(v)))
		} else {
			b = binary.BigEndian.AppendUint16(append(b, 0xdc), uint16(len(v)))
		}
		for _, e := range v {
			b = packAny(b, e)
		}
		return b
	}
	panic("msgpack: a token holds no such type")
}

func packInt(b []byte, n int64) []byte {
	switch {
	case n >= 0 && n < 128:
		return append(b, byte(n))
	case n >= 0 && n < 1<<8:
		return append(b, 0xcc, byte(n))
	case n >= 0 && n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(n))
	case n >= 0 && n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	}
	first := byte(0xcf)
	if n < 0 {
		first = 0xd3
	}
	return binary.BigEndian.AppendUint64(append(b, first), uint64(n))
}

// unpackAny reads one value and returns the rest. Lists may nest a few levels, as payloads do.
func unpackAny(b []byte, depth int) (any, []byte, error) {
	if len(b) == 0 || depth > 4 {
		return nil, nil, errMsgpack
	}
	c, b := b[0], b[1:]
	take := func(n int) ([]byte, bool) {
		if n > len(b) {
			return nil, false
		}
		out := b[:n]
		b = b[n:]
		return out, true
	}
	size := func(n int) (uint64, bool) {
		raw, ok := take(n)
		var v uint64
		for _, x := range raw {
			v = v<<8 | uint64(x)
		}
		return v, ok
	}
	textOf := func(n uint64, ok bool) (any, []byte, error) {
		raw, fits := take(int(min(n, 1<<20)))
		if !ok || !fits {
			return nil, nil, errMsgpack
		}
		return string(raw), b, nil
	}
	number := func(n int, signed bool) (any, []byte, error) {
		v, ok := size(n)
		if !ok {
			return nil, nil, errMsgpack
		}
		if signed {
			shift := 64 - 8*n
			return int64(v<<shift) >> shift, b, nil
		}
		if v > math.MaxInt64 {
			return nil, nil, errMsgpack
		}
		return int64(v), b, nil
	}
	list := func(n uint64, ok bool) (any, []byte, error) {
		if !ok || n > uint64(len(b)) {
			return nil, nil, errMsgpack
		}
		out := make([]any, 0, n)
		for range n {
			v, rest, err := unpackAny(b, depth+1)
			if err != nil {
				return nil, nil, err
			}
			out, b = append(out, v), rest
		}
		return out, b, nil
	}
	switch {
	case c < 0x80:
		return int64(c), b, nil
	case c >= 0xe0:
		return int64(int8(c)), b, nil
	case c&0xf0 == 0x90:
		return list(uint64(c&0x0f), true)
	case c&0xe0 == 0xa0:
		return textOf(uint64(c&0x1f), true)
	}
	switch c {
	case 0xc0:
		return nil, b, nil
	case 0xc2, 0xc3:
		return c == 0xc3, b, nil
	case 0xc4, 0xc5:
		n, ok := size(int(c) - 0xc3)
		raw, fits := take(int(min(n, 1<<20)))
		if !ok || !fits {
			return nil, nil, errMsgpack
		}
		return append([]byte{}, raw...), b, nil
	case 0xca:
		v, ok := size(4)
		if !ok {
			return nil, nil, errMsgpack
		}
		return float64(math.Float32frombits(uint32(v))), b, nil
	case 0xcb:
		v, ok := size(8)
		if !ok {
			return nil, nil, errMsgpack
		}
		return math.Float64frombits(v), b, nil
	case 0xcc:
		return number(1, false)
	case 0xcd:
		return number(2, false)
	case 0xce:
		return number(4, false)
	case 0xcf:
		return number(8, false)
	case 0xd0:
		return number(1, true)
	case 0xd1:
		return number(2, true)
	case 0xd2:
		return number(4, true)
	case 0xd3:
		return number(8, true)
	case 0xd9:
		return textOf(size(1))
	case 0xda:
		return textOf(size(2))
	case 0xdc:
		return list(size(2))
	}
	return nil, nil, errMsgpack
}
