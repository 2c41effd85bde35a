package dhcp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// Server answers on one device of one namespace.
type Server struct {
	cfg  atomic.Pointer[Config]
	mac  net.HardwareAddr
	raw  *os.File
	port net.PacketConn // holds UDP port 67 so that the kernel does not answer "port unreachable"
	log  *slog.Logger
	done sync.WaitGroup
}

// Listen starts a server on the device.
func Listen(ns *netns.NS, device string, cfg *Config, log *slog.Logger) (*Server, error) {
	s := &Server{log: log}
	s.cfg.Store(cfg)
	err := ns.Do(func() error {
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		s.mac = ifi.HardwareAddr
		fd, err := openRaw(ifi.Index)
		if err != nil {
			return err
		}
		s.raw = os.NewFile(uintptr(fd), "dhcp "+device)
		s.port, err = net.ListenPacket("udp4", ":67")
		return err
	})
	if err != nil {
		s.closeSockets()
		return nil, fmt.Errorf("network %s: start DHCP on %s: %w", cfg.NetworkID, device, err)
	}
	s.done.Add(1)
	go s.serve()
	return s, nil
}

// openRaw opens a socket for frames to UDP port 67 on one device.
func openRaw(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open raw socket: %w", err)
	}
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0800, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 17, SkipTrue: 4},
		bpf.LoadMemShift{Off: 14},
		bpf.LoadIndirect{Off: 16, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 67, SkipTrue: 1},
		bpf.RetConstant{Val: 65535},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
		return -1, errors.Join(fmt.Errorf("filter raw socket: %w", err), unix.Close(fd))
	}
	// Bound only now, so that nothing unfiltered is queued.
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: index}); err != nil {
		return -1, errors.Join(fmt.Errorf("bind raw socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// Update changes what the server answers, from the next packet on.
func (s *Server) Update(cfg *Config) { s.cfg.Store(cfg) }

// Close stops it.
func (s *Server) Close() {
	s.closeSockets()
	s.done.Wait()
}

func (s *Server) closeSockets() {
	if s.raw != nil {
		s.raw.Close()
	}
	if s.port != nil {
		s.port.Close()
	}
}

func (s *Server) serve() {
	defer s.done.Done()
	buf := make([]byte, 4096)
	for {
		n, err := s.raw.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			if errors.Is(err, unix.ENETDOWN) {
				continue // the device was set down for a moment
			}
			s.log.Warn("DHCP stops answering", "network", s.cfg.Load().NetworkID, "error", err)
			return
		}
		if f := s.answer(buf[:n]); f != nil {
			if _, err := s.raw.Write(f); err != nil && !errors.Is(err, os.ErrClosed) {
				s.log.Warn("a DHCP reply was not sent", "network", s.cfg.Load().NetworkID, "error", err)
			}
		}
	}
}

// answer is the whole service as a function of frames.
func (s *Server) answer(frame []byte) []byte {
	m, from, ok := parseFrame(frame)
	if !ok || m.ClientHWAddr.String() != from.String() {
		return nil // nobody asks for another's address
	}
	r := s.cfg.Load().Reply(m)
	if r == nil {
		return nil
	}
	s.log.Debug("DHCP", "network", s.cfg.Load().NetworkID, "mac", from.String(), "message", r.MessageType().String(), "address", r.YourIPAddr.String())
	return buildFrame(r, s.mac, addrOf(r.ServerIdentifier()))
}
