/* ExecuTorch programs behind plain C, which is the same for every version of Python and of every compiler.

   A function that fails gives null or -1; `sp_error` says why, to the thread that called. Texts belong to the library
   and last until the thread's next call. One program is for one thread at a time. */
#ifndef SPEECHPRESS_C_H
#define SPEECHPRESS_C_H

#include <stdint.h>

#define SP_ABI 1
#define SP_MOST_DIMENSIONS 8
#define SP_PUBLIC __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sp_program sp_program;

enum { SP_TENSOR = 0, SP_INTEGER = 1, SP_NUMBER = 2, SP_TRUTH = 3, SP_OTHER = 4 };

/* A tensor or a number. `dtype` is ExecuTorch's ScalarType; `data` lies dense, in C order. */
typedef struct sp_value {
  int32_t kind;
  int32_t dtype;
  int32_t dimensions;
  int64_t shape[SP_MOST_DIMENSIONS];
  const void* data;
  int64_t bytes;
  int64_t integer;
  double number;
} sp_value;

/* SP_ABI of the library: another number means other functions, or others of the same name. */
SP_PUBLIC int32_t sp_abi(void);
SP_PUBLIC const char* sp_executorch_version(void);
SP_PUBLIC const char* sp_error(void);

/* Names, a line each. */
SP_PUBLIC const char* sp_backends(void);

/* Of ExecuTorch's one pool; not to be set while a program runs. */
SP_PUBLIC int32_t sp_threads(void);
SP_PUBLIC int32_t sp_set_threads(int32_t threads);

/* With `trace`, the time of every operator is kept for `sp_write_trace`. */
SP_PUBLIC sp_program* sp_load(const char* path, int32_t trace);
SP_PUBLIC void sp_free(sp_program* program);
SP_PUBLIC const char* sp_methods(sp_program* program);
SP_PUBLIC int32_t sp_load_method(sp_program* program, const char* method);

/* How many outputs a call of a method gives; they last until the program's next call. An output may lie in the memory
   of an input. */
SP_PUBLIC int32_t sp_run(sp_program* program, const char* method, const sp_value* inputs, int32_t count);
SP_PUBLIC int32_t sp_output(sp_program* program, int32_t index, sp_value* value);

SP_PUBLIC int32_t sp_write_trace(sp_program* program, const char* path);

#ifdef __cplusplus
}
#endif

#endif
