/* brot [-d] [-q QUALITY]: compress or decompress stdin to stdout, as a stream, in the format of RFC 7932. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <brotli/decode.h>
#include <brotli/encode.h>

enum { CHUNK = 1 << 16 };

static void die(const char *what) {
  fprintf(stderr, "brot: %s\n", what);
  exit(1);
}

static size_t fill(uint8_t *buffer) {
  size_t size = fread(buffer, 1, CHUNK, stdin);
  if (ferror(stdin)) die("cannot read");
  return size;
}

static void drain(const uint8_t *buffer, size_t size) {
  if (fwrite(buffer, 1, size, stdout) != size) die("cannot write");
}

static void compress(uint32_t quality) {
  static uint8_t in[CHUNK], out[CHUNK];
  BrotliEncoderState *state = BrotliEncoderCreateInstance(NULL, NULL, NULL);
  if (!state || !BrotliEncoderSetParameter(state, BROTLI_PARAM_QUALITY, quality)) die("no such quality");
  while (!BrotliEncoderIsFinished(state)) {
    size_t size = fill(in);
    const uint8_t *next = in;
    BrotliEncoderOperation what = size ? BROTLI_OPERATION_PROCESS : BROTLI_OPERATION_FINISH;
    do {
      size_t room = CHUNK;
      uint8_t *to = out;
      if (!BrotliEncoderCompressStream(state, what, &size, &next, &room, &to, NULL)) die("cannot compress");
      drain(out, CHUNK - room);
    } while (size || BrotliEncoderHasMoreOutput(state));
  }
  BrotliEncoderDestroyInstance(state);
}

static void decompress(void) {
  static uint8_t in[CHUNK], out[CHUNK];
  BrotliDecoderState *state = BrotliDecoderCreateInstance(NULL, NULL, NULL);
  BrotliDecoderResult result = BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT;
  size_t size = 0;
  const uint8_t *next = in;
  if (!state) die("no memory");
  while (result != BROTLI_DECODER_RESULT_SUCCESS) {
    size_t room = CHUNK;
    uint8_t *to = out;
    if (result == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT && !size) {
      next = in;
      if (!(size = fill(in))) die("the input ends too early");
    }
    result = BrotliDecoderDecompressStream(state, &size, &next, &room, &to, NULL);
    if (result == BROTLI_DECODER_RESULT_ERROR) die("the input is not in brotli's format");
    drain(out, CHUNK - room);
  }
  if (size || fill(in)) die("something follows the compressed data");
  BrotliDecoderDestroyInstance(state);
}

int main(int count, char **words) {
  int back = 0;
  long quality = BROTLI_DEFAULT_QUALITY;
  for (int i = 1; i < count; i++) {
    char *end = "";
    if (!strcmp(words[i], "-d")) {
      back = 1;
    } else if (!strcmp(words[i], "-q") && i + 1 < count) {
      quality = strtol(words[++i], &end, 10);
    } else {
      die("usage: brot [-d] [-q QUALITY]");
    }
    if (*end || quality < BROTLI_MIN_QUALITY || quality > BROTLI_MAX_QUALITY) die("a quality is from 0 to 11");
  }
  if (back) {
    decompress();
  } else {
    compress((uint32_t)quality);
  }
  if (fflush(stdout)) die("cannot write");
  return 0;
}
