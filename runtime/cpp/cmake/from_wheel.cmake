# ExecuTorch's headers and shared libraries as its Python wheel has them. The wheel's own CMake
# package is not used: it defines its targets from CMake 3.28 on, and takes backends along that need
# a vendor's libraries.

if(NOT EXECUTORCH_PACKAGE)
  if(CMAKE_CROSSCOMPILING)
    message(FATAL_ERROR "Set EXECUTORCH_PACKAGE to the folder `executorch` of an unpacked wheel for "
                        "${CMAKE_SYSTEM_PROCESSOR}")
  endif()
  execute_process(
      COMMAND python3 -c "import importlib.util as u; print(u.find_spec('executorch').submodule_search_locations[0])"
      OUTPUT_VARIABLE EXECUTORCH_PACKAGE OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EXISTS "${EXECUTORCH_PACKAGE}/include/executorch/extension/module/module.h")
  message(FATAL_ERROR "No ExecuTorch at '${EXECUTORCH_PACKAGE}': install it for python3 "
                      "(pip install executorch==1.5.1), or set EXECUTORCH_PACKAGE")
endif()
message(STATUS "ExecuTorch: ${EXECUTORCH_PACKAGE}")

set(_include "${EXECUTORCH_PACKAGE}/include")
target_include_directories(speechpress_executorch SYSTEM INTERFACE
    "${_include}" "${_include}/executorch/runtime/core/portable_type/c10")
target_compile_definitions(speechpress_executorch INTERFACE
    C10_USING_CUSTOM_GENERATED_MACROS SPEECHPRESS_ETDUMP)
foreach(_name executorch executorch_threadpool executorch_etdump executorch_kernels_optimized
              executorch_kernels_quantized executorch_backend_xnnpack)
  set(_library "${EXECUTORCH_PACKAGE}/lib/lib${_name}${CMAKE_SHARED_LIBRARY_SUFFIX}")
  if(NOT EXISTS "${_library}")
    message(FATAL_ERROR "This wheel lacks ${_library}; 1.5.1 for Linux has it")
  endif()
  # Kernels and backends announce themselves when they are loaded; nothing refers to them by name.
  if(APPLE)
    target_link_libraries(speechpress_executorch INTERFACE "${_library}")
  else()
    target_link_libraries(speechpress_executorch INTERFACE
        "-Wl,--push-state,--no-as-needed,${_library},--pop-state")
  endif()
endforeach()

if(CMAKE_CROSSCOMPILING)
  set(CMAKE_BUILD_RPATH "$ORIGIN")
else()
  set(CMAKE_BUILD_RPATH "$ORIGIN;${EXECUTORCH_PACKAGE}/lib")
endif()
set(CMAKE_INSTALL_RPATH "$ORIGIN;$ORIGIN/../lib")
