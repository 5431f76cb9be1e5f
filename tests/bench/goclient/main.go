// Command goclient speaks containerd's gRPC API with the library that containerd's own clients use, so that
// one program measures every server. It prints one JSON document on standard output.
//
//	goclient SOCKET NAMESPACE unary PATH REQUEST-BASE64 COUNT CONCURRENCY
//	goclient SOCKET NAMESPACE write REF SIZE CHUNK
//	goclient SOCKET NAMESPACE read DIGEST
//	goclient SOCKET NAMESPACE subscribe COUNT      holds the streams until standard input ends
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const content = "/containerd.services.content.v1.Content/"

// raw hands messages through as the bytes they are: what is measured is the server, not a codec.
type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                               { return "proto" }

func main() {
	log.SetFlags(0)
	if len(os.Args) < 5 {
		log.Fatal("usage: goclient SOCKET NAMESPACE unary|write|read|subscribe ARGUMENTS…")
	}
	arguments := os.Args[4:]
	connection, err := grpc.Dial("unix://"+os.Args[1], grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(16<<20)))
	check(err)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "containerd-namespace", os.Args[2])
	commands := map[string]func(context.Context, *grpc.ClientConn, []string) map[string]interface{}{
		"unary": unary, "write": write, "read": read, "subscribe": subscribe,
	}
	check(json.NewEncoder(os.Stdout).Encode(commands[os.Args[3]](ctx, connection, arguments)))
}

func unary(ctx context.Context, connection *grpc.ClientConn, arguments []string) map[string]interface{} {
	request, err := base64.StdEncoding.DecodeString(arguments[1])
	check(err)
	count, concurrency := number(arguments[2]), number(arguments[3])
	samples := make([]float64, count*concurrency)
	var group sync.WaitGroup
	start := time.Now()
	for worker := 0; worker < concurrency; worker++ {
		group.Add(1)
		go func(samples []float64) {
			defer group.Done()
			for index := range samples {
				var answer []byte
				begun := time.Now()
				check(connection.Invoke(ctx, arguments[0], &request, &answer))
				samples[index] = float64(time.Since(begun).Nanoseconds()) / 1e3
			}
		}(samples[worker*count : (worker+1)*count])
	}
	group.Wait()
	seconds := time.Since(start).Seconds()
	sort.Float64s(samples)
	return map[string]interface{}{
		"p50": samples[len(samples)/2], "p99": samples[len(samples)*99/100],
		"rps": float64(len(samples)) / seconds,
	}
}

// write sends SIZE bytes in messages of CHUNK, reads each acknowledgement, and commits.
func write(ctx context.Context, connection *grpc.ClientConn, arguments []string) map[string]interface{} {
	ref, size, chunk := arguments[0], number(arguments[1]), number(arguments[2])
	data := make([]byte, chunk)
	for index := range data {
		data[index] = byte(index * 2654435761 >> 7)
	}
	copy(data, ref)
	hash := sha256.New()
	for sent := 0; sent < size; sent += chunk {
		hash.Write(data)
	}
	digest := "sha256:" + hex.EncodeToString(hash.Sum(nil))
	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, content+"Write")
	check(err)
	start := time.Now()
	exchange := func(message []byte) {
		var answer []byte
		check(stream.SendMsg(&message))
		check(stream.RecvMsg(&answer))
	}
	for sent := 0; sent < size; sent += chunk {
		exchange(writeRequest(1, ref, size, digest, sent, data))
	}
	exchange(writeRequest(2, ref, size, digest, size, nil))
	seconds := time.Since(start).Seconds()
	check(stream.CloseSend())
	return map[string]interface{}{"seconds": seconds, "digest": digest}
}

// writeRequest encodes a WriteContentRequest (content.proto).
func writeRequest(action int, ref string, total int, digest string, offset int, data []byte) []byte {
	message := varint(nil, 1, action)
	message = text(message, 2, []byte(ref))
	message = varint(message, 3, total)
	message = text(message, 4, []byte(digest))
	message = varint(message, 5, offset)
	if data != nil {
		message = text(message, 6, data)
	}
	return message
}

func varint(message []byte, field int, value int) []byte {
	return put(put(message, field<<3), value)
}

func text(message []byte, field int, value []byte) []byte {
	return append(put(put(message, field<<3|2), len(value)), value...)
}

func put(message []byte, value int) []byte {
	var buffer [binary.MaxVarintLen64]byte
	return append(message, buffer[:binary.PutUvarint(buffer[:], uint64(value))]...)
}

func read(ctx context.Context, connection *grpc.ClientConn, arguments []string) map[string]interface{} {
	request := text(nil, 1, []byte(arguments[0]))
	start := time.Now()
	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, content+"Read")
	check(err)
	check(stream.SendMsg(&request))
	check(stream.CloseSend())
	size := 0
	for {
		var answer []byte
		if err := stream.RecvMsg(&answer); err == io.EOF {
			break
		} else {
			check(err)
		}
		size += len(answer)
	}
	return map[string]interface{}{"seconds": time.Since(start).Seconds(), "bytes": size}
}

// subscribe opens COUNT streams of events and says so; it ends with its standard input.
func subscribe(ctx context.Context, connection *grpc.ClientConn, arguments []string) map[string]interface{} {
	count := number(arguments[0])
	empty := []byte{}
	for index := 0; index < count; index++ {
		stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true},
			"/containerd.services.events.v1.Events/Subscribe")
		check(err)
		check(stream.SendMsg(&empty))
		check(stream.CloseSend())
	}
	fmt.Fprintln(os.Stderr, "subscribed")
	io.Copy(io.Discard, os.Stdin)
	return map[string]interface{}{"streams": count}
}

func number(argument string) int {
	value, err := strconv.Atoi(argument)
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
