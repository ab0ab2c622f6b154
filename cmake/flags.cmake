# Flags: what the language is, which warnings are read, which instruction sets a file may use.

# -ffp-contract=off: a fused multiply-add is written down where it is meant, so that results do not
# hang on the compiler's choices.
add_compile_options(-ffp-contract=off -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  -Wdouble-promotion -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Wwrite-strings
  -Wformat=2)
add_compile_definitions(_POSIX_C_SOURCE=200809L RK_VERSION="${PROJECT_VERSION}")
if(RK_WERROR)
  add_compile_options(-Werror)
endif()
if(RK_SANITIZE)
  add_compile_options(-fsanitize=${RK_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${RK_SANITIZE})
  add_compile_definitions(RK_INLINE_FREELY)
endif()
if(RK_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic) # threads count the same lines
  add_link_options(--coverage)
endif()
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  add_compile_options(-Wno-pass-failed) # loops whose bounds are constant only where they are inlined
endif()
if(RK_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# A file whose name ends in one of these suffixes is compiled with the flags behind it, on the
# processors named first; elsewhere it is left out.
set(RK_ISA_SUFFIXES
  "x86_64|AMD64\;_avx2\;-mavx2 -mfma -mf16c"
  "x86_64|AMD64\;_avx512\;-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c"
  "x86_64|AMD64\;_avx512bf16\;-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mavx512vnni -mfma -mf16c"
  "x86_64|AMD64\;_avxvnni\;-mavx2 -mfma -mf16c -mavxvnni"
  "x86_64|AMD64\;_avx512vnni\;-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c"
  "aarch64|arm64\;_neon\;"
  "aarch64|arm64\;_neondot\;-march=armv8.2-a+dotprod"
  "aarch64|arm64\;_neoni8mm\;-march=armv8.2-a+dotprod+i8mm")

# Give the files of the list named by `var` their flags; drop those for other processors.
function(rk_isa_sources var)
  set(kept ${${var}})
  foreach(row IN LISTS RK_ISA_SUFFIXES)
    list(GET row 0 processors)
    list(GET row 1 suffix)
    list(GET row 2 flags)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "${processors}")
      set(files ${kept})
      list(FILTER files INCLUDE REGEX "${suffix}\\.c$")
      separate_arguments(flags)
      set_source_files_properties(${files} PROPERTIES COMPILE_OPTIONS "${flags}")
    else()
      list(FILTER kept EXCLUDE REGEX "${suffix}\\.c$")
    endif()
  endforeach()
  set(${var} ${kept} PARENT_SCOPE)
endfunction()

# With RK_COVERAGE kernels keep their speed: counters in their loops would make the tests take hours,
# and each path is tested against the reference as a whole.
function(rk_plain_kernels var)
  if(RK_COVERAGE)
    set(files ${${var}})
    list(FILTER files INCLUDE REGEX "/src/kernels/")
    set_property(SOURCE ${files} APPEND PROPERTY COMPILE_OPTIONS -O3 -fno-profile-arcs -fno-test-coverage)
  endif()
endfunction()
