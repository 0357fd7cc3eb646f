# ExecuTorch built along, from its source: what Android needs, since the wheel's libraries are glibc's.

foreach(_option EXTENSION_DATA_LOADER EXTENSION_FLAT_TENSOR EXTENSION_MODULE
                EXTENSION_NAMED_DATA_MAP EXTENSION_TENSOR KERNELS_OPTIMIZED KERNELS_QUANTIZED XNNPACK
                DEVTOOLS)
  set(EXECUTORCH_BUILD_${_option} ON CACHE BOOL "")
endforeach()
foreach(_option LOGGING EVENT_TRACER PROGRAM_VERIFICATION)
  set(EXECUTORCH_ENABLE_${_option} ON CACHE BOOL "")
endforeach()
add_subdirectory("${EXECUTORCH_SOURCE}" executorch EXCLUDE_FROM_ALL)

target_link_libraries(speechpress_executorch INTERFACE
    executorch executorch::backends executorch::extensions executorch::kernels)
if(TARGET extension_threadpool)
  target_link_libraries(speechpress_executorch INTERFACE extension_threadpool)
endif()
if(TARGET etdump)
  target_link_libraries(speechpress_executorch INTERFACE etdump)
  target_compile_definitions(speechpress_executorch INTERFACE SPEECHPRESS_ETDUMP)
endif()
